"""Sees what a script asks of torch, with no help from the script, and puts torch back afterwards.

Seen are calls of outermost modules, backward passes, clips, optimizer steps, schedules, gradient scalers and
cross-entropies. Nothing is computed for the script and no random number drawn, so its numbers stay
the same to the bit. Code that torch.compile traces runs through the originals.
"""

import functools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from trueformer.doctor.watch.monitor import Monitor
from trueformer.doctor.watch.owners import Owner
from trueformer.doctor.watch.patches import Patches
from trueformer.doctor.watch.run import Forward
from trueformer.doctor.watch.samples import take_samples

Function = Callable[..., Any]
OPTIMIZER_FILE = register_optimizer_step_pre_hook.__code__.co_filename
is_compiling = torch.compiler.is_compiling


@contextmanager
def observed(monitor: Monitor) -> Iterator[None]:
    """Everything that happens inside is heard by the monitor."""
    observer = Observer(monitor)
    handles = [
        register_optimizer_step_pre_hook(observer.before_step),
        register_optimizer_step_post_hook(observer.after_step),
    ]
    with Patches() as patches:
        try:
            observer.patch(patches)
            yield
        finally:
            observer.end()
            for handle in handles:
                handle.remove()


def harmless(method: Function) -> Function:
    """The method, whose own failure is noted and never reaches the script; nothing while compiling."""

    @functools.wraps(method)
    def guarded(self: "Observer", *args: Any) -> None:
        if is_compiling():
            return
        try:
            method(self, *args)
        except Exception as error:  # noqa: BLE001 - it is reported, and must not end the script
            self.monitor.failures.setdefault("watch", f"{type(error).__name__}: {error}")

    return guarded


class Observer:
    """Turns calls into events. Calls inside a seen one, and of other threads, are not events of their own."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor, self.run = monitor, monitor.run
        self._thread = threading.get_ident()
        self._inside = False  # an outermost module, or a backward pass
        self._in_backward = False
        self._clipping = False
        self._scheduling = False
        self._stepping: FrameType | None = None  # the outermost call of an optimizer's step

    def patch(self, patches: Patches) -> None:
        """Put the observing functions in place."""
        patches.replace(nn.Module, "__call__", self._call)
        patches.replace(torch.autograd, "backward", self._backward)
        patches.replace(Optimizer, "__init__", self._optimizer_made)
        patches.replace_everywhere(F.cross_entropy, self._cross_entropy)
        for clip in (nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_, nn.utils.clip_grads_with_norm_):
            patches.replace_everywhere(clip, self._clip)
        patches.replace(lr_scheduler.LRScheduler, "_initial_step", self._schedule_made)
        for kind in vars(lr_scheduler).values():
            if isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler):
                for name in {"step", "__init__"} & vars(kind).keys():
                    patches.replace(kind, name, self._schedule if name == "step" else self._quiet)
        for name in ("scale", "unscale_", "step", "update"):
            patches.replace(torch.amp.GradScaler, name, getattr(self, f"_scaler_{name.rstrip('_')}"))

    @harmless
    def end(self) -> None:
        """The script has ended; an update by hand may not have been seen yet."""
        self.monitor.stop = False
        self._notice_update_by_hand()
        self.monitor.hear("finish")

    def _call(self, original: Function) -> Function:
        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if is_compiling() or self._inside or threading.get_ident() != self._thread:
                return original(module, *args, **kwargs)
            return self._outermost(original, module, args, kwargs)

        return call

    def _outermost(self, original: Function, module: nn.Module, args: tuple, kwargs: dict) -> Any:
        if next(module.parameters(), None) is None:
            return original(module, *args, **kwargs)
        seen = Forward(
            module=weakref.ref(module), training=module.training, builds_graph=torch.is_grad_enabled()
        )
        self._before_forward(seen, module)
        self._inside = True
        try:
            output = original(module, *args, **kwargs)
        finally:
            self._inside = False
        self.monitor.hear("forward_ends", seen, output)
        return output

    @harmless
    def _before_forward(self, seen: Forward, module: nn.Module) -> None:
        self.run.forward = seen
        if seen.builds_graph:
            self.run.roots.add(module)
        self.monitor.hear("forward_begins", seen)

    def _backward(self, original: Function) -> Function:
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> None:
            if is_compiling() or self._in_backward or threading.get_ident() != self._thread:
                return original(tensors, *args, **kwargs)
            tensors = tensors if isinstance(tensors, Tensor) else tuple(tensors)
            roots = tuple(
                t for t in (tensors if isinstance(tensors, tuple) else [tensors]) if isinstance(t, Tensor)
            )
            self._before_backward(roots)
            before, self._inside, self._in_backward = self._inside, True, True
            try:
                original(tensors, *args, **kwargs)
            finally:
                self._inside, self._in_backward = before, False
            self._after_backward(roots)

        return backward

    @harmless
    def _before_backward(self, roots: tuple[Tensor, ...]) -> None:
        run = self.run
        self._notice_update_by_hand()
        run.backwards += 1
        run.adopt_free_parameters()
        for owner in run.all_owners():
            owner.gradients.before_backward()
        self.monitor.hear("backward_begins", roots)

    @harmless
    def _after_backward(self, roots: tuple[Tensor, ...]) -> None:
        run = self.run
        for owner in run.all_owners():
            owner.gradients.after_backward()
        run.hand.remember()
        self.monitor.hear("backward_ends", roots)

    def _notice_update_by_hand(self) -> None:
        hand = self.run.hand
        if hand.parameters and hand.moved():
            self.monitor.hear("step_begins", hand)
            self.monitor.hear("step_ends", hand)
            hand.gradients.after_step()
            self.run.count_step(hand)

    def _optimizer_made(self, original: Function) -> Function:
        def init(optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            self._know(optimizer)

        return init

    @harmless
    def _know(self, optimizer: Optimizer) -> None:
        self.run.owner(optimizer)

    @harmless
    def before_step(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        """The hook that torch calls before every optimizer's step; one that is part of another is skipped."""
        if self._stepping is not None and self._stepping in _frames():
            return
        self._stepping = _call_of_step()
        owner = self.run.owner(optimizer)
        owner.gradients.look()
        self.run.samples = take_samples(owner.parameters) if self.run.close_look else []
        self.monitor.hear("step_begins", owner)

    @harmless
    def after_step(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        """The hook that torch calls after it."""
        if self._stepping is not _call_of_step():
            return
        self._stepping = None
        owner = self.run.owner(optimizer)
        self.monitor.hear("step_ends", owner)
        self.run.samples = []
        owner.gradients.after_step()
        self.run.count_step(owner)

    def _clip(self, original: Function) -> Function:
        def clip(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            if is_compiling() or self._clipping:
                return original(parameters, *args, **kwargs)
            listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
            bound = args[0] if args else kwargs.get("max_norm", kwargs.get("clip_value"))
            self.monitor.hear("clip_begins", listed, bound)
            self._clipping = True
            try:
                norm = original(listed, *args, **kwargs)
            finally:
                self._clipping = False
            self._note_gradients()
            self.monitor.hear("clip_ends", listed, bound, norm)
            return norm

        return clip

    @harmless
    def _note_gradients(self) -> None:
        """What torch itself did to gradients is not a change by hand."""
        for owner in self.run.all_owners():
            owner.gradients.note()

    def _schedule_made(self, original: Function) -> Function:
        def initial_step(scheduler: Any) -> None:
            self._silently(original, scheduler)
            self.monitor.hear("schedule_made", self.run.owner(scheduler.optimizer))

        return initial_step

    @harmless
    def _before_schedule(self, scheduler: Any) -> None:
        optimizer = getattr(scheduler, "optimizer", None)
        if isinstance(optimizer, Optimizer):
            owner = self.run.owner(optimizer)
            owner.gradients.look()
            self.monitor.hear("schedule_steps", owner)

    def _schedule(self, original: Function) -> Function:
        def step(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._scheduling:
                self._before_schedule(scheduler)
            return self._silently(original, scheduler, *args, **kwargs)

        return step

    def _quiet(self, original: Function) -> Function:
        return lambda *args, **kwargs: self._silently(original, *args, **kwargs)

    def _silently(self, original: Function, *args: Any, **kwargs: Any) -> Any:
        before, self._scheduling = self._scheduling, True
        try:
            return original(*args, **kwargs)
        finally:
            self._scheduling = before

    def _cross_entropy(self, original: Function) -> Function:
        def cross_entropy(input: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            value = original(input, target, *args, **kwargs)
            self._after_cross_entropy(value, input, args, kwargs)
            return value

        return cross_entropy

    @harmless
    def _after_cross_entropy(self, value: Tensor, input: Tensor, args: tuple, kwargs: dict) -> None:
        classes = input.shape[1 if input.dim() > 1 else 0]
        self.run.saw_cross_entropy(value, classes, _reduction(args, kwargs))
        self.monitor.hear("cross_entropy", self.run.cross_entropy)

    def _scaler_scale(self, original: Function) -> Function:
        def scale(scaler: Any, outputs: Any) -> Any:
            scaled = original(scaler, outputs)
            self._after_scale(scaler)
            return scaled

        return scale

    @harmless
    def _after_scale(self, scaler: Any) -> None:
        self.run.scaling = scaler.is_enabled()
        if self.run.scaling and self.run.close_look:
            self.run.scale = float(scaler.get_scale())

    def _scaler_unscale(self, original: Function) -> Function:
        def unscale_(scaler: Any, optimizer: Optimizer) -> None:
            original(scaler, optimizer)
            self._note_gradients()
            self._after_unscale(optimizer)

        return unscale_

    @harmless
    def _after_unscale(self, optimizer: Optimizer) -> None:
        self.monitor.hear("scaler_unscales", self.run.owner(optimizer))

    def _scaler_step(self, original: Function) -> Function:
        def step(scaler: Any, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
            owner = self.run.owner(optimizer)
            before = owner.steps
            result = original(scaler, optimizer, *args, **kwargs)
            self._after_scaler_step(owner, owner.steps > before)
            return result

        return step

    @harmless
    def _after_scaler_step(self, owner: Owner, stepped: bool) -> None:
        owner.skipped += not stepped
        self.monitor.hear("scaler_steps", owner, stepped)

    def _scaler_update(self, original: Function) -> Function:
        def update(scaler: Any, *args: Any, **kwargs: Any) -> None:
            original(scaler, *args, **kwargs)
            self.run.scaling = False
            if scaler.is_enabled():
                self.monitor.hear(
                    "scaler_updates", float(scaler.get_scale()) if self.run.close_look else None
                )

        return update


def _frames() -> Iterator[FrameType]:
    """The stack, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _call_of_step() -> FrameType:
    """Torch's own frame around the step whose hook is running: a step may call that of a base class."""
    return next(frame for frame in _frames() if frame.f_code.co_filename == OPTIMIZER_FILE)


def _reduction(args: tuple, kwargs: dict) -> str:
    """Of `cross_entropy(input, target, weight, size_average, ignore_index, reduce, reduction, …)`."""
    return str(args[4] if len(args) > 4 else kwargs.get("reduction", "mean"))
