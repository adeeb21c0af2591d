"""Finds the blocks of a model and what is inside one, and changes copies of them for a while.

Blocks are what stands in the outermost `ModuleList` or `Sequential` (or are sisters of one class) and turns a hidden
state (B, T, D) into another. Shapes: B rows, T tokens, D the width.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

SHORT = 12  # tokens of the passes that are made for each block


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Passage:
    """What a module got and gave, each a hidden state (B, T, D)."""

    given: Tensor
    gave: Tensor


def scratch(subject: Subject) -> nn.Module:
    """A copy of `exact` that laws may change, if they put it back."""
    return subject.once("block_parts_scratch", lambda: _scratch(subject))


def _scratch(subject: Subject) -> nn.Module:
    return copy.deepcopy(subject.exact)


def in_evaluation(subject: Subject) -> nn.Module:
    """A copy of the model as it is, in evaluation mode; laws do not change it."""
    return subject.once("block_parts_in_evaluation", lambda: _in_evaluation(subject))


def _in_evaluation(subject: Subject) -> nn.Module:
    return subject.copied().eval()


def short_ids(subject: Subject, n_rows: int = 1) -> Tensor:
    """Random ids for the passes that are made for each block."""
    return subject.ids(n_rows, min(SHORT, subject.length))


@contextmanager
def passages(model: nn.Module, paths: list[str]) -> Iterator[dict[str, list[Passage]]]:
    """What these modules get and give in the passes inside, in the order of their calls."""
    seen: dict[str, list[Passage]] = {}
    modules = dict(model.named_modules())

    def note(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            passage = _passage(args, kwargs, out)
            if passage is not None:
                seen.setdefault(path, []).append(passage)

        return hook

    with ExitStack() as hooks:
        for path in paths:
            handle = modules[path].register_forward_hook(note(path), with_kwargs=True)
            hooks.callback(handle.remove)
        yield seen


def replayed(subject: Subject, paths: list[str], again: Callable[..., Any]) -> dict[str, Any]:
    """What `again(path, passage, call)` gives at each of these modules, all in one pass of `scratch`.

    `call(x)` runs the module once more with `x` for the hidden state it got.
    """
    model, found = scratch(subject), {}

    def note(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            passage = _passage(args, kwargs, out)
            if passage is None or path in found:
                return
            found[path] = None  # it may call itself again
            usual = passage.given

            def call(x_BTD: Tensor) -> Tensor:
                given = tree_map(lambda leaf: x_BTD if leaf is usual else leaf, (args, kwargs))
                made = module.forward(*given[0], **given[1])
                return next(leaf for leaf in tree_leaves(made) if _is_hidden(leaf))

            found[path] = again(path, passage, call)

        return hook

    with ExitStack() as hooks:
        for path in paths:
            handle = model.get_submodule(path).register_forward_hook(note(path), with_kwargs=True)
            hooks.callback(handle.remove)
        subject.call(model, short_ids(subject))
    return found


def _passage(args: Any, kwargs: Any, out: Any) -> Passage | None:
    gave = next((leaf for leaf in tree_leaves(out) if _is_hidden(leaf)), None)
    given = next(
        (
            x
            for x in tree_leaves((args, kwargs))
            if _is_hidden(x) and gave is not None and x.shape == gave.shape
        ),
        None,
    )
    return None if gave is None or given is None else Passage(given=given, gave=gave)


def _is_hidden(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 3


def groups(subject: Subject) -> list[list[str]]:
    """The paths of the blocks, those of an encoder apart from those of a decoder, also of blocks that did not run.

    Raises:
        NotApplicable: there are none.
    """
    found = subject.once("block_parts_groups", lambda: _groups(subject))
    if not found:
        raise NotApplicable("no blocks were seen: modules in a row that turn a hidden state into another")
    return found


def blocks(subject: Subject) -> list[str]:
    """The paths of the blocks that ran, in the order in which they stand."""
    return [path for group in groups(subject) for path in group if path in subject.passed.outputs]


def _groups(subject: Subject) -> list[list[str]]:
    for candidates in (_listed(subject.exact), _sisters(subject.exact)):
        flat = [path for group in candidates for path in group]
        with passages(subject.exact, flat) as seen:
            subject.call(subject.exact, short_ids(subject))
        chosen: list[list[str]] = []
        for group in candidates:
            outer = tuple(f"{path}." for other in chosen for path in other)
            if any(path in seen for path in group) and not group[0].startswith(outer or ("\0",)):
                chosen.append(group)
        if chosen:
            return chosen
    return []


def _listed(model: nn.Module) -> list[list[str]]:
    """The members of each list of modules that hold two matrices at least, outer lists first."""
    kinds = (nn.ModuleList, nn.Sequential, nn.ModuleDict)
    lists = [(path, module) for path, module in model.named_modules() if isinstance(module, kinds)]
    found = [
        [_join(path, name) for name, child in module.named_children() if len(matrices(child)) > 1]
        for path, module in lists
    ]
    return [group for group in found if group]


def _sisters(model: nn.Module) -> list[list[str]]:
    """Children of one class that hold two matrices at least."""
    found: list[list[str]] = []
    for path, module in model.named_modules():
        by_class: dict[type, list[str]] = {}
        for name, child in module.named_children():
            if len(matrices(child)) > 1:
                by_class.setdefault(type(child), []).append(_join(path, name))
        found += [group for group in by_class.values() if len(group) > 1]
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def matrices(module: nn.Module) -> list[nn.Parameter]:
    """Its parameters of two axes or more."""
    return [parameter for parameter in module.parameters() if parameter.ndim > 1]


def weights(module: nn.Module) -> list[nn.Parameter]:
    """Its matrices and their biases: all but the vectors of modules that hold no matrix, as norms do."""
    owners = [m for m in module.modules() if any(p.ndim > 1 for p in m.parameters(recurse=False))]
    return list({id(p): p for owner in owners for p in owner.parameters(recurse=False)}.values())


def sublayers(model: nn.Module, path: str) -> list[str]:
    """The parts of a block that hold matrices: attention, feed-forward."""
    module = model.get_submodule(path)
    parts = [_join(path, name) for name, child in module.named_children() if matrices(child)]
    own = [p for p in module.parameters(recurse=False) if p.ndim > 1]
    return sublayers(model, parts[0]) if len(parts) == 1 and not own else parts


@contextmanager
def zeroed(parameters: list[nn.Parameter]) -> Iterator[None]:
    """These are zero inside."""
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter in parameters:
                parameter.zero_()
        yield
    finally:
        with torch.no_grad():
            for parameter, was in zip(parameters, before, strict=True):
                parameter.copy_(was)
