"""The owner's training step and evaluation, rehearsed on copies, with a spy where the optimizer steps.

A rehearsal is a copy of model, optimizer and schedule. It runs `train_step` on a few small batches and notes the
gradients as they are when the optimizer steps. Held, the optimizer does not move anything, so that steps can be
compared from the same weights, and everything is computed in float32.
"""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from trueformer.laws.data_batches import batches, slim
from trueformer.subject.errors import NotApplicable
from trueformer.subject.interface import call_by_name
from trueformer.subject.kept import without_autocast
from trueformer.subject.subject import Subject

ROWS, TOKENS = 3, 24
SMALL = 2.0**-14  # of a gradient, so that no clipping touches it; a power of two loses no bit
MODELS = ("model", "net", "network", "lm", "gpt", "transformer")
OPTIMIZERS = ("optimizer", "opt", "optim", "optimizers")
MANY = ("batches", "micro_batches", "microbatches", "data", "minibatches")
SCHEDULES = ("schedule", "scheduler", "lr_scheduler", "sched")
LOSSES = ("loss", "loss_fn", "criterion", "loss_function")
NUMBERS = ("step", "iteration", "it", "iter_num")
ACCUMULATE = (
    "accumulation_steps",
    "grad_accum",
    "grad_accum_steps",
    "gradient_accumulation_steps",
    "accumulate",
)
Gradients = dict[str, Tensor]


class Rehearsal:
    """Copies to train on: `gradients` holds, for each step the optimizer took, what it was given; `rates` the rates
    of its groups then, `factors` the numbers that `step` was called with.

    Where the optimizer is not held, it says no more than whether there was any.
    """

    def __init__(
        self, subject: Subject, *, held: bool = False, scale: float = 1.0, quiet: bool = True
    ) -> None:
        refuse_closed(subject.train_step)
        self.subject, self.held, self.scale = subject, held, scale
        copies = subject.copied_with(subject.optimizer, subject.schedule)
        self.model, self.optimizer, self.schedule = copies
        self.model.train()
        if held:
            self.model.float()
        if quiet:
            silence(self.model)
        self.gradients: list[Gradients] = []
        self.live: list[list[tuple[Tensor, Tensor]]] = []
        self.rates: list[float] = []
        self.factors: list[float] = []
        self.steps: list[int] = []
        self.modes: list[tuple[bool, bool]] = []
        self._spy()

    def _spy(self) -> None:
        for module in self.model.modules():  # of every one: some loops run the model in parts
            module.register_forward_pre_hook(
                lambda module, _: self.modes.append((module.training, torch.is_grad_enabled()))
            )
        for parameter in self.model.parameters():
            if self.scale != 1 and parameter.requires_grad:
                parameter.register_hook(lambda gradient: gradient * self.scale)
        several = self.optimizer if isinstance(self.optimizer, list | tuple) else [self.optimizer]
        self.steps = [0] * len(several)
        for i, optimizer in enumerate(several):
            optimizer.step = self._stepping(i, optimizer, optimizer.step)

    def _stepping(self, number: int, optimizer: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        def spied(*args: Any, **kwargs: Any) -> Any:
            self.steps[number] += 1
            if number == 0:
                self._note()
            groups = getattr(optimizer, "param_groups", [])
            self.rates += [float(group["lr"]) for group in groups if "lr" in group]
            said = [*args, *kwargs.values()]
            self.factors += [float(value) for value in said if isinstance(value, int | float)]
            return None if self.held else step(*args, **kwargs)

        return spied

    def _note(self) -> None:
        grads = {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}
        if not self.held:  # many steps of a large model: whether there is any gradient is enough
            self.gradients.append({name: grad.detach().any() for name, grad in grads.items()})
            return
        self.gradients.append({name: grad.detach().clone() for name, grad in grads.items()})
        self.live.append([(grad, self.gradients[-1][name]) for name, grad in grads.items()])

    def train(self, wholes: list[Any], step: int = 0) -> Any:
        """One call of the owner's training step on these batches.

        Raises:
            NotApplicable: it wants something that is not offered, or one batch only where there are several.
        """
        function, offered = self.subject.train_step, self._offered(wholes, step)
        names = inspect.signature(function).parameters  # type: ignore[arg-type]
        if len(wholes) > 1 and not set(names) & set(MANY) and "batch" in names:
            raise NotApplicable("train_step takes one batch, so nothing is accumulated in it")
        torch.manual_seed(step)
        try:
            with torch.enable_grad(), without_autocast() if self.held else nullcontext():
                result = call_by_name(function, "model", "batches", "optimizer", **offered)
        except ValueError as error:
            if "asks for" not in str(error):
                raise
            raise NotApplicable(f"{error}: give train_step(model, batches, optimizer)") from error
        if not self.modes:
            raise NotApplicable(
                "train_step did not run the model it was given: expected (model, batches, optimizer)"
            )
        return result

    def _offered(self, wholes: list[Any], step: int) -> dict[str, Any]:
        return {
            **dict.fromkeys(MODELS, self.model),
            **dict.fromkeys(OPTIMIZERS, self.optimizer),
            **dict.fromkeys(MANY, wholes),
            **dict.fromkeys(SCHEDULES, self.schedule),
            **dict.fromkeys(LOSSES, self.subject.loss),
            **dict.fromkeys(NUMBERS, step),
            **dict.fromkeys(ACCUMULATE, len(wholes)),
            "batch": wholes[0],
            "device": next(self.model.parameters()).device,
        }


def refuse_closed(function: Any) -> None:
    """A training step that brings its own model would train the owner's.

    Raises:
        NotApplicable: it takes no model.
    """
    names = list(inspect.signature(function).parameters)
    if not set(names) & set(MODELS) and len(names) < 3:
        raise NotApplicable(
            f"train_step({', '.join(names)}) takes no model: give train_step(model, batches, optimizer), "
            "so that a copy can be trained"
        )


def silence(model: nn.Module) -> None:
    """Turns dropout off without leaving training mode."""
    for module in model.modules():
        drops = "drop" in type(module).__name__.lower()
        for name, value in vars(module).items():
            if (drops or "drop" in name) and isinstance(value, float):
                setattr(module, name, 0.0)


def practice(subject: Subject, count: int) -> list[Any]:
    """Some batches of the loader, cut small and all of one shape.

    Raises:
        NotApplicable: there are too few.
    """
    small = [
        slim(batch.whole, ROWS, TOKENS) for batch in batches(subject) if batch.counted[:ROWS, :TOKENS].any()
    ]
    shapes = [tuple(batch.inputs.shape) for batch in batches(subject) if batch.counted[:ROWS, :TOKENS].any()]
    alike = [s for s, shape in zip(small, shapes, strict=True) if shape == shapes[0]]
    if len(alike) < count:
        raise NotApplicable(f"the loader gives {len(alike)} batches of one shape: {count} are needed here")
    return alike[:count]


def held_gradients(subject: Subject, *calls: list[Any], scale: float = SMALL) -> Gradients:
    """The gradients of the last of some training steps, all from the same weights.

    Raises:
        NotApplicable: the optimizer did not step.
    """
    rehearsal = Rehearsal(subject, held=True, scale=scale)
    for wholes in calls:
        rehearsal.train(wholes)
    if len(rehearsal.gradients) < len(calls) or not rehearsal.gradients[-1]:
        raise NotApplicable(
            "the optimizer that was given did not step, or had no gradients: see loop/steps-once"
        )
    return rehearsal.gradients[-1]


def apart(one: Gradients, other: Gradients) -> tuple[float, str]:
    """The largest difference of two sets of gradients relative to their whole norm, and whose it is."""
    norm = sum(float(g.double().norm()) ** 2 for g in other.values()) ** 0.5 or 1e-30
    zero = torch.zeros(())
    off = {
        name: float((one.get(name, zero).double() - other.get(name, zero).double()).norm()) / norm
        for name in one | other
    }
    where = max(off, key=off.__getitem__)
    return off[where], where
