"""Watches a pass from below the modules: every tensor operation, what it read, what it wrote, and where it ran.

At this level everybody's code looks alike: `nn.MultiheadAttention`, `scaled_dot_product_attention`, einsum or plain
`@` all become batched products and a softmax. Operations are tied together by the storages they read and write, so
a value can be followed back to where it came from, through views and writes in place. Leaves out what the
operations mean: `attentions.py` finds the attention among them.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules import module as module_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(kw_only=True, slots=True, eq=False)
class Event:
    """One operation: `op` as in `bmm`, its arguments, its result, and the events that wrote what it read."""

    op: str
    path: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    parents: list["Event"]
    tainted: bool
    grown: bool  # whether `out` lies in a storage of its own, rather than being a view
    copied: Tensor | None = None

    @property
    def value(self) -> Tensor:
        """The result as it was then, were it written over later."""
        return self.out if self.copied is None else self.copied

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]


KEPT_AS_THEY_ARE = {
    "bmm",
    "mm",
    "addmm",
    "baddbmm",
    "_softmax",
    "_safe_softmax",
    "mul",
    "div",
    "embedding",
    "add",
}


@dataclass(slots=True)
class Trace:
    """What a pass did, in order; `writers` knows which events wrote into each storage."""

    events: list[Event] = field(default_factory=list)
    writers: dict[int, list[Event]] = field(default_factory=dict)
    sources: set[int] = field(default_factory=set)
    inputs: dict[str, list[Tensor]] = field(default_factory=dict)
    outputs: dict[str, list[Any]] = field(default_factory=dict)
    held: list[Any] = field(default_factory=list)

    def wrote(self, tensor: Tensor) -> list[Event]:
        """The events that wrote what this tensor holds; none for parameters and inputs."""
        return self.writers.get(storage_of(tensor), [])

    def is_tainted(self, tensor: Tensor) -> bool:
        """Whether its values depend on the input ids."""
        return storage_of(tensor) in self.sources or any(event.tainted for event in self.wrote(tensor))

    def named(self, *ops: str) -> list[Event]:
        """The events of these operations, in order."""
        return [event for event in self.events if event.op in ops]


def storage_of(tensor: Tensor) -> int:
    """What tensors that share memory have in common."""
    return tensor.untyped_storage()._cdata


class _Enough(BaseException):
    """Ends a pass of which the rest is not wanted; no Exception, so that no code under test catches it."""


class _Watch(TorchDispatchMode):
    def __init__(self, trace: Trace, stack: list[str], until: Callable[[Trace], bool] | None) -> None:
        super().__init__()
        self.trace, self.stack, self.until = trace, stack, until

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        parents = list(dict.fromkeys(event for tensor in read for event in self.trace.wrote(tensor)))
        tainted = any(self.trace.is_tainted(tensor) for tensor in read)
        out = func(*args, **kwargs)
        self._note(func, args, kwargs, out, read, parents, tainted)
        if self.until is not None and self.until(self.trace):
            raise _Enough
        return out

    def _note(
        self,
        func: Any,
        args: Any,
        kwargs: Any,
        out: Any,
        read: list[Tensor],
        parents: list[Event],
        tainted: bool,
    ) -> None:
        written = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        name = func.overloadpacket.__name__
        in_place = name.endswith("_") and not name.startswith("_")
        shared = {storage_of(tensor) for tensor in read}
        grown = [tensor for tensor in written if in_place or storage_of(tensor) not in shared]
        copy = written[0].clone() if name in KEPT_AS_THEY_ARE and written else None
        event = Event(
            op=name.rstrip("_"),
            path=self.stack[-1] if self.stack else "",
            args=args,
            kwargs=kwargs,
            out=out,
            parents=parents,
            tainted=tainted,
            grown=bool(grown),
            copied=copy,
        )
        self.trace.events.append(event)
        for tensor in grown:
            self.trace.writers.setdefault(storage_of(tensor), []).append(event)


@contextlib.contextmanager
def watch(
    model: nn.Module, sources: list[Tensor], until: Callable[[Trace], bool] | None = None
) -> Iterator[Trace]:
    """Records every operation of the passes inside the block; `sources` are the tensors whose influence is followed.

    Attention runs through its plain mathematics meanwhile, so that its parts can be seen. The pass, and the block,
    end early as soon as `until` is true of the trace.
    """
    trace, stack = Trace(), [""]
    trace.held += sources
    trace.sources |= {storage_of(tensor) for tensor in sources}
    names = {id(module): name for name, module in model.named_modules()}
    fast = torch.backends.mha.get_fastpath_enabled()

    def enter(module: nn.Module, args: Any) -> None:
        name = names.get(id(module), stack[-1])
        stack.append(name)
        trace.inputs[name] = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        name = stack.pop()
        trace.outputs.setdefault(name, []).append(out)

    hooks = [
        module_hooks.register_module_forward_pre_hook(enter),
        module_hooks.register_module_forward_hook(leave),
    ]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.compiler.set_stance("force_eager"),
            sdpa_kernel(SDPBackend.MATH),
            _Watch(trace, stack, until),
        ):
            yield trace
    except _Enough:
        pass
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for hook in hooks:
            hook.remove()
