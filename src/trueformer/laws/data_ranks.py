"""The law of a distributed run's data: its processes read different examples."""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from trueformer.laws.data_batches import reader, rows, take, understood
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.interface import call_by_name
from trueformer.subject.subject import Subject

RANKS = 2
FIRST = 16  # batches that are compared
VARIED = 8  # a row with fewer different ids is padding or a pattern


@law(
    "data/ranks-apart",
    statement="The processes of a distributed run read different examples.",
    source="PyTorch, torch.utils.data.distributed.DistributedSampler",
    looks="Makes the loader of each rank (`rank_loader`, or copies that are given the rank) and compares what they read.",
    tolerance="Padding to equal length may repeat one example a rank. Endless loaders are compared step by step.",
    symptoms="Eight GPUs learn no more than one.",
    causes="The rank is not used, or every process seeds and crops for itself alike.",
    needs=("loader",),
)
def ranks_apart(subject: Subject) -> Evidence:
    """Two ranks and examples 0 to 9: rank 0 takes 0, 2, 4, 6, 8 and rank 1 the others."""
    if subject.rank_loader is not None:
        return _of_each_rank(subject)
    owner = _with_ranks(subject.loader)
    counts = Counter[Any]()
    ranks, size = range(owner[1]), 0
    for rank in ranks:
        loader = reader(subject.loader)
        place = _with_ranks(loader)[0]
        place.rank = rank
        parts = list(place) if place is not loader else list(rows(take(loader, FIRST)))
        size += len(parts)
        counts.update(set(parts))
    return _apart(sum(count - 1 for count in counts.values()), size, owner[1])


def _apart(shared: int, size: int, ranks: int) -> Evidence:
    return Evidence(
        measured=float(max(0, shared - ranks)), bound=0.0, unit="examples", where=f"{ranks} ranks",
        saw=f"{shared} of {size} examples are read by more than one rank" if shared > ranks else "",
    )  # fmt: skip


def _of_each_rank(subject: Subject) -> Evidence:
    """What the loaders of two ranks share: in one step where they never end, else in all that is read."""
    loaders = [
        call_by_name(subject.rank_loader, "rank", "world_size", rank=rank, world_size=RANKS)
        for rank in range(RANKS)
    ]
    endless = any(iter(loader) is loader for loader in loaders)
    read = [take(loader, FIRST) for loader in loaders]
    together = [[[whole] for whole in step] for step in zip(*read, strict=False)] if endless else [read]
    shared = size = 0
    for sides in together:
        held = [set(_telling(wholes)) for wholes in sides]
        counts = Counter(itertools.chain.from_iterable(held))
        shared, size = shared + counts.total() - len(counts), size + counts.total()
    if not size:
        raise NotApplicable("the rows hold too few different tokens to tell them apart")
    return _apart(shared, size, RANKS)


def _telling(wholes: list[Any]) -> Iterator[bytes]:
    """The rows that hold enough different tokens, as bytes: all padding is alike."""
    for whole in wholes:
        inputs = understood(whole).inputs.cpu()
        yield from (row.numpy().tobytes() for row in inputs if len(row.unique()) >= VARIED)


def _with_ranks(loader: Any) -> tuple[Any, int]:
    """The sampler or loader that knows its rank, and how many there are."""
    for place in (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None), loader):
        many = next((getattr(place, n) for n in ("num_replicas", "world_size") if hasattr(place, n)), None)
        if hasattr(place, "rank") and isinstance(many, int) and many > 1:
            return place, many
    raise NotApplicable(
        "the loader has no rank among several (sampler.rank, or rank and world_size): give rank_loader"
    )
