"""Finds the table of embeddings: the matrix whose rows the ids pick, and what it gives.

Shapes: B rows, T tokens.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject
from trueformer.subject.trace import storage_of


def table(subject: Subject) -> str:
    """The name of the matrix whose rows the ids pick.

    Raises:
        NotApplicable: none is looked up by the ids as they are.
    """
    name = table_or_none(subject)
    if name is None:
        raise NotApplicable("no table was seen that the ids are looked up in")
    return name


def table_or_none(subject: Subject) -> str | None:
    """The same, or nothing."""
    return subject.once("embedding_table_table", lambda: _table(subject))


def _table(subject: Subject) -> str | None:
    storages = {storage_of(p): name for name, p in subject.exact.named_parameters() if p.ndim == 2}
    looked_up = [(event.args[0], event.tainted) for event in subject.passed.named("embedding", "index")]
    for weight, tainted in looked_up:
        if tainted and isinstance(weight, Tensor) and storage_of(weight) in storages:
            return storages[storage_of(weight)]
    return None


def rows_of(subject: Subject) -> int:
    """How many rows that table has."""
    return len(subject.exact.get_parameter(table(subject)))


class _Enough(Exception):
    """Ends a pass once the embeddings are known."""


def embedded(subject: Subject, model: nn.Module, ids_BT: Tensor) -> Tensor:
    """What the module that holds the table gives for these ids; the logits where it is not called.

    Only that much of the pass is made.
    """
    owner = model.get_submodule(table(subject).rpartition(".")[0])
    caught: list[Tensor] = []

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        if isinstance(out, Tensor) and out.shape[:2] == ids_BT.shape:
            caught.append(out)
            raise _Enough

    handle = owner.register_forward_hook(leave)
    try:
        return subject.logits(ids_BT, model)
    except _Enough:
        return caught[0]
    finally:
        handle.remove()


@contextmanager
def random_rows(subject: Subject, model: nn.Module) -> Iterator[None]:
    """The table holds random rows inside, so that what is equal is not made so by its numbers."""
    parameter = model.get_parameter(table(subject))
    before = parameter.detach().clone()
    generator = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator).to(parameter))
        yield
    finally:
        with torch.no_grad():
            parameter.copy_(before)
