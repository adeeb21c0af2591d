"""What is in a batch, whatever its author called the parts, and reading a loader without moving the owner's.

Understood are a tensor of windows, a tuple or list of inputs and targets, and a mapping with the usual names.
Shapes: B rows, T tokens.
"""

import copy
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

INPUTS = ("input_ids", "tokens", "inputs", "x", "idx", "ids", "input")
TARGETS = ("targets", "labels", "target", "y")
LOSS_MASKS = ("loss_mask", "target_mask", "targets_mask", "label_mask", "labels_mask")
NUMBERS = ("document_ids", "doc_ids", "documents", "segment_ids", "sequence_ids")
FEW = 32  # batches that are read of a loader
LARGE = 1000  # a longer list is copied without what it holds
SECONDS = 5.0  # of reading


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """`whole` as the loader gave it, the inputs in it, the targets if it has them, and which of them count."""

    whole: Any
    inputs: Tensor
    targets: Tensor | None
    mask: Tensor | None

    @property
    def counted(self) -> Tensor:
        """Where there is something to learn (B, T): not masked, and not marked by a negative target."""
        scored = self.inputs if self.targets is None else self.targets
        counted = scored >= 0
        return counted if self.mask is None else counted & (self.mask > 0)


def understood(whole: Any) -> Batch:
    """Finds the inputs and the targets.

    Raises:
        NotApplicable: it holds no tensor of rows.
    """
    if isinstance(whole, Mapping):
        inputs, targets = _named(whole, INPUTS), _named(whole, TARGETS)
        mask = _named(whole, LOSS_MASKS)
    else:
        inputs, targets, mask = None, None, None
    tensors = [leaf for leaf in tree_leaves(plain(whole)) if isinstance(leaf, Tensor) and leaf.ndim >= 1]
    if not tensors:
        raise NotApplicable(f"a batch is {described(whole)}: no tensor in it")
    if inputs is None:
        inputs = tensors[0]
        rest = [t for t in tensors[1:] if t.numel() == inputs.numel()]
        targets = rest[0] if targets is None and rest and not isinstance(whole, Mapping) else targets
    return Batch(whole=whole, inputs=inputs, targets=targets, mask=mask)


def _named(whole: Mapping[str, Any], names: Iterable[str]) -> Tensor | None:
    return next((whole[name] for name in names if isinstance(whole.get(name), Tensor)), None)


def plain(whole: Any) -> Any:
    """The batch, a mapping of any class as a dictionary."""
    return dict(whole) if isinstance(whole, Mapping) else whole


def described(whole: Any) -> str:
    """What a batch is made of, in a few words."""
    if isinstance(whole, Tensor):
        return f"a tensor of {str(whole.dtype).removeprefix('torch.')} {tuple(whole.shape)}"
    if isinstance(whole, Mapping):
        return "a mapping of " + ", ".join(f"{name}: {type(value).__name__}" for name, value in whole.items())
    if isinstance(whole, tuple | list):
        return f"a {type(whole).__name__} of " + ", ".join(sorted({type(part).__name__ for part in whole}))
    return f"a {type(whole).__name__}"


def slim(whole: Any, rows: int | list[int], tokens: int) -> Any:
    """The first rows (or those listed) and tokens of everything in the batch that has as many as its inputs."""
    shape = understood(whole).inputs.shape
    n_tokens = shape[1] if len(shape) > 1 else -1

    def cut(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.ndim == 0 or len(leaf) != shape[0]:
            return leaf
        leaf = leaf[:rows] if isinstance(rows, int) else leaf[rows]
        for axis in range(1, leaf.ndim):
            leaf = leaf.narrow(axis, 0, tokens) if leaf.shape[axis] == n_tokens > tokens else leaf
        return leaf.clone()

    return tree_map(cut, plain(whole))


def replaced(whole: Any, inputs: Tensor | None = None, targets: Tensor | None = None) -> Any:
    """The batch with other inputs or targets of the same shape, in the dtypes it had."""
    batch = understood(whole)

    def put(leaf: Any) -> Any:
        if leaf is batch.inputs and inputs is not None:
            return inputs.to(leaf.dtype)
        if isinstance(leaf, Tensor) and leaf is batch.targets and targets is not None:
            return targets.to(leaf.dtype)
        return leaf

    return tree_map(put, plain(whole))


def joined(wholes: list[Any]) -> Any:
    """The rows of several batches of one shape in one."""
    return tree_map(
        lambda *leaves: torch.cat(leaves) if isinstance(leaves[0], Tensor) and leaves[0].ndim else leaves[0],
        *map(plain, wholes),
    )


def reader(loader: Any) -> Any:
    """A copy of a loader to read from, sharing its tensors and arrays, so that the owner's stays where it is.

    Raises:
        NotApplicable: it cannot be copied or iterated.
    """
    if not isinstance(loader, Iterable):
        raise NotApplicable(
            f"the loader is a {type(loader).__name__} that cannot be iterated: give an iterable of batches"
        )
    try:
        return copy.deepcopy(loader, _shared(loader))
    except (TypeError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise NotApplicable(
            f"the loader cannot be copied ({error}), and reading it would move it: give one that can"
        ) from error


def _shared(thing: Any, depth: int = 3) -> dict[int, Any]:
    """What a copy need not copy: large data, by the ids that deepcopy looks up."""
    if isinstance(thing, Tensor | np.ndarray):
        return {id(thing): thing}
    if isinstance(thing, list) and len(thing) >= LARGE:
        return {id(thing): list(thing)}
    inside: list[Any] = list(getattr(thing, "__dict__", {}).values()) if depth else []
    if depth and isinstance(thing, dict | list | tuple):
        inside += thing.values() if isinstance(thing, dict) else thing
    return {key: value for part in inside for key, value in _shared(part, depth - 1).items()}


def take(batches: Iterable[Any], most: int, seconds: float = SECONDS) -> list[Any]:
    """The first `most` batches, or as many as come in that time."""
    until = time.perf_counter() + seconds
    taken = []
    for whole in itertools.islice(batches, most):
        taken.append(whole)
        if time.perf_counter() > until:
            break
    return taken


def first_batches(subject: Subject, part: str = "loader") -> list[Any]:
    """The first batches of the loader, or of `val_loader`, read once for all laws.

    Raises:
        NotApplicable: the loader cannot be read, or gives nothing.
    """
    wholes = subject.once(f"batches of {part}", lambda: take(reader(getattr(subject, part)), FEW))
    if not wholes:
        raise NotApplicable(f"the {part} gives no batch")
    return wholes


def batches(subject: Subject, part: str = "loader") -> list[Batch]:
    """The first batches, understood, whose ids are integers in rows.

    Raises:
        NotApplicable: there is none.
    """
    return in_rows(first_batches(subject, part))


def in_rows(wholes: Iterable[Any]) -> list[Batch]:
    """These batches, understood, as far as their ids are integers in rows.

    Raises:
        NotApplicable: there is none.
    """
    found = [understood(whole) for whole in wholes]
    if not found:
        raise NotApplicable("there is no batch")
    usable = [b for b in found if b.inputs.ndim == 2 and not b.inputs.is_floating_point()]
    usable = [b for b in usable if b.targets is None or b.targets.shape == b.inputs.shape]
    if not usable:
        raise NotApplicable(
            f"a batch is {described(found[0].whole)}: no rows of ids (B, T), or targets unlike them"
        )
    return usable


def rows(wholes: Iterable[Any]) -> Iterator[bytes]:
    """Each row of ids as bytes, to be counted."""
    for whole in wholes:
        yield from (row.tobytes() for row in understood(whole).inputs.cpu().numpy())


def same(one: Any, other: Any) -> bool:
    """Whether two batches hold the same numbers."""
    pair = [
        [leaf for leaf in tree_leaves(plain(b)) if isinstance(leaf, Tensor | np.ndarray)]
        for b in (one, other)
    ]
    return len(pair[0]) == len(pair[1]) and all(
        np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(*pair, strict=True)
    )


def special_id(subject: Subject, name: str) -> int | None:
    """The id of `pad`, `bos` or `eos`, declared or the tokenizer's own."""
    declared = getattr(subject.claims, f"{name}_id")
    for attribute in (f"{name}_id", f"{name}_token_id"):
        found = getattr(subject.tokenizer, attribute, None)
        if declared is None and isinstance(found, int):
            return found
    return declared


def differing(found: list[Batch], ahead: int, pad: int | None) -> float:
    """The share of the targets that count, padding left out, that are not the input so many places ahead.

    Raises:
        NotApplicable: no target counts.
    """
    wrong = total = 0
    for batch in found:
        asked = batch.inputs if batch.targets is None else batch.targets
        end = batch.inputs.shape[1] - ahead
        target, token, counted = asked[:, :end], batch.inputs[:, ahead:], batch.counted[:, :end]
        counted = counted & (target != (-1 if pad is None else pad))
        wrong += int(((target != token) & counted).sum())
        total += int(counted.sum())
    if not total:
        raise NotApplicable("no target counts in the first batches")
    return wrong / total


def document_numbers(subject: Subject, whole: Any) -> Tensor | None:
    """The number of each token's document (B, T), where the batch names one."""
    named = whole._asdict() if hasattr(whole, "_asdict") else whole
    if not isinstance(named, Mapping):
        return None
    declared = () if subject.claims.documents is None else (subject.claims.documents,)
    return _named(named, (*declared, *NUMBERS))


def per_batch(function: Callable[[Batch], float], found: list[Batch]) -> tuple[float, int]:
    """The largest that `function` finds of any batch, and the number of that batch."""
    values = [float(function(batch)) for batch in found]
    worst = max(range(len(values)), key=values.__getitem__)
    return values[worst], worst
