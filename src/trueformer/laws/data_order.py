"""Laws of the data's order: splits that share nothing, epochs that hold everything once, cursors that come back."""

import copy
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from trueformer.laws.data_batches import batches, reader, rows, same, take
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

WINDOW = 32  # tokens; so many in a row do not come twice by chance
VARIED = 8  # a window with fewer different ids is padding or a pattern
WHOLE = 400  # batches of an epoch that is read to its end
FIRST = 16  # batches that are compared
MANY = 200_000  # rows of a dataset whose order is counted


@law(
    "data/validation-apart",
    statement="Training and validation share no text.",
    source="any textbook; Lee et al. 2022, arXiv:2107.06499, for what sharing costs",
    looks="Looks for runs of 32 tokens of the validation batches in the training batches.",
    tolerance="5 % may be shared: licences, headings. A split that leaks shares nearly all.",
    symptoms="The validation loss follows the training loss down, and the model fails on new text.",
    causes="Both loaders read one file; a split by overlapping windows; shuffled before it was split.",
    needs=("loader", "val_loader"),
)
def validation_apart(subject: Subject) -> Evidence:
    """Rows cut at every token overlap: row 10 of training holds 127 of the 128 tokens of row 11 of validation."""
    held = [b.inputs.cpu() for b in batches(subject, "val_loader")]
    seen = [b.inputs.cpu() for b in batches(subject)]
    width = min(WINDOW, *(t.shape[1] for t in held + seen))
    if width < WINDOW // 2:
        raise NotApplicable(
            f"rows of {width} tokens are too short to tell a shared text from a shared phrase"
        )
    known = set(itertools.chain.from_iterable(_windows(t, width) for t in seen))
    by_row = [set(_windows(row[None], width)) for t in held for row in t]
    asked = Counter(window for row in by_row for window in row)
    if not asked:
        raise NotApplicable("no run of different tokens is long enough to compare")
    if sum(count > 1 for count in asked.values()) > 0.05 * len(asked):
        raise NotApplicable("the validation text repeats itself, so shared runs say nothing")
    shared = sum(window in known for window in asked) / len(asked)
    return Evidence(
        measured=shared, bound=0.05, unit="of the runs", where=f"{len(asked)} runs of {width} tokens",
        saw=f"{shared:.0%} of the validation text is in the training batches" if shared > 0.05 else "",
    )  # fmt: skip


def _windows(ids_BT: Tensor, width: int) -> Iterator[int]:
    """A number for each run of `width` tokens that has enough different ones."""
    for row in ids_BT.long().numpy():
        runs = np.lib.stride_tricks.sliding_window_view(row, width)
        ordered = np.sort(runs, axis=1)
        varied = (np.diff(ordered, axis=1) != 0).sum(1) + 1 >= VARIED
        yield from (hash(run.tobytes()) for run in runs[varied])


@law(
    "data/validation-order",
    statement="Validation reads the same batches in the same order each time.",
    source="a curve compares like with like",
    looks="Reads the validation loader twice and compares the first 16 batches.",
    tolerance="None.",
    symptoms="Validation curves that jump, and cannot be compared from run to run.",
    causes="shuffle=True; random crops; a cursor that is not set back.",
    needs=("val_loader",),
)
def validation_order(subject: Subject) -> Evidence:
    """Of 1000 batches 50 are averaged. Drawn anew each time, the mean moves by its own error although nothing changed."""
    changed, count = _between_epochs(subject, "val_loader")
    return Evidence(
        measured=float(changed), bound=0.0, unit="batches", where="two readings of the val_loader",
        saw=f"{changed} of the first {count} batches differ from one reading to the next" if changed else "",
    )  # fmt: skip


@law(
    "data/training-order",
    statement="Training meets its batches in another order in each epoch.",
    source="Bottou 2012, Stochastic Gradient Descent Tricks, §3: shuffle",
    looks="Reads the training loader twice and compares the first 16 batches.",
    tolerance="One batch must differ.",
    symptoms="Waves in the loss with the period of an epoch.",
    causes="shuffle=False; a generator seeded again for each epoch; `set_epoch` not called.",
    needs=("loader",),
    advice=True,
)
def training_order(subject: Subject) -> Evidence:
    """With one order for all epochs, the last batches always have the last word."""
    changed, count = _between_epochs(subject, "loader")
    if count < 4:
        raise NotApplicable(f"an epoch of {count} batches has hardly an order")
    return Evidence(
        measured=float(changed), bound=1.0, at_least=True, unit="batches", where="two readings of the loader",
        saw="" if changed else "two epochs begin with the same batches in the same order",
    )  # fmt: skip


def _between_epochs(subject: Subject, part: str) -> tuple[int, int]:
    """How many of the first batches differ between two readings of one copy, and how many there are."""
    loader = reader(getattr(subject, part))
    if iter(loader) is loader:
        raise NotApplicable(f"the {part} is an iterator: it cannot be read twice")
    first = take(loader, FIRST)
    second = take(loader, len(first))
    pairs = itertools.zip_longest(first, second)
    return sum(one is None or two is None or not same(one, two) for one, two in pairs), len(first)


@law(
    "data/epoch-complete",
    statement="An epoch holds every example once: none lost, none twice.",
    source="sampling without replacement",
    looks="Counts the indices of a DataLoader's sampler; of other loaders, compares the rows of two epochs.",
    tolerance="Less than one batch may be left out at the end (drop_last).",
    symptoms="Some of the data is never learned, other data is learned twice.",
    causes="An index off by one between batches; a shard read by two workers; a sampler with replacement.",
    needs=("loader",),
)
def epoch_complete(subject: Subject) -> Evidence:
    """Rows start at 0, 64, 128, …; a cursor that goes on by `seq_len + 1` loses a row's worth every 64 rows."""
    loader = reader(subject.loader)
    sampled = _of_sampler(loader) if isinstance(loader, DataLoader) else None
    lost, repeated, batch = sampled or _of_rows(loader)
    lost = 0 if lost < batch else lost
    saw = [f"{n} examples {what}" for n, what in ((lost, "are left out"), (repeated, "come twice")) if n]
    return Evidence(
        measured=float(max(lost, repeated)),
        bound=0.0,
        unit="examples",
        where="an epoch",
        saw=" and ".join(saw),
    )


def _of_sampler(loader: DataLoader) -> tuple[int, int, int] | None:
    """What a sampler leaves out and repeats, and the size of a batch; None where there is no plain sampler."""
    sampler = loader.batch_sampler if loader.batch_sampler is not None else loader.sampler
    if loader.dataset is None or not hasattr(loader.dataset, "__len__") or not isinstance(sampler, Iterable):
        return None
    if getattr(loader.sampler, "replacement", False):
        raise NotApplicable("the sampler is declared to draw with replacement")
    size = len(loader.dataset)  # type: ignore[arg-type]
    if size > MANY or getattr(loader.sampler, "num_replicas", 1) > 1:
        raise NotApplicable("too many examples to count here" if size > MANY else "each rank reads a part")
    drawn = [i for entry in sampler for i in (entry if isinstance(entry, list | tuple) else [entry])]
    if not all(isinstance(i, int) for i in drawn):
        return None
    times = Counter(drawn)
    return size - len(times), sum(count - 1 for count in times.values()), loader.batch_size or 1


def _of_rows(loader: Any) -> tuple[int, int, int]:
    if iter(loader) is loader:
        raise NotApplicable("the loader is an iterator without epochs")
    epochs = [take(loader, WHOLE + 1) for _ in range(2)]
    if max(map(len, epochs)) > WHOLE or min(map(len, epochs)) < 2:
        raise NotApplicable(f"an epoch is not between 2 and {WHOLE} batches that can be read in time")
    one, two = (Counter(rows(wholes)) for wholes in epochs)
    if (one & two).total() < 0.5 * one.total():
        raise NotApplicable("two epochs share few rows: they are drawn at random")
    batch = max(1, round(one.total() / len(epochs[0])))
    repeated = (one - two).total() if one.total() == two.total() else 0
    again = sum(count - two[row] for row, count in one.items() if count > 1 and two[row] < count)
    return (two - one).total() if two.total() >= one.total() else repeated, max(0, again), batch


@law(
    "data/no-repeats",
    statement="Rows of an epoch differ.",
    source="Lee et al. 2022, arXiv:2107.06499",
    looks="Counts rows of the first batches that came before; rows with few different tokens are left out.",
    tolerance="20 %. A loader that repeats whole batches, as for a trial, is not judged.",
    symptoms="The training loss falls fast and the validation loss rises: a part of the data is learned by heart.",
    causes="A list multiplied, an index that wraps around, one shard read by every worker.",
    needs=("loader",),
)
def no_repeats(subject: Subject) -> Evidence:
    """Ten documents sixteen times are not 160 documents: each is seen 16 times an epoch, and 150 are never seen."""
    found = batches(subject)
    if len({batch.inputs.cpu().numpy().tobytes() for batch in found}) < max(2, 0.9 * len(found)):
        raise NotApplicable("whole batches are repeated, or there is only one")
    read = [row for batch in found for row in batch.inputs.cpu() if len(row.unique()) >= VARIED]
    if len(read) < 8:
        raise NotApplicable("too few rows of different tokens to judge")
    share = 1 - len({row.numpy().tobytes() for row in read}) / len(read)
    return Evidence(
        measured=share, bound=0.2, unit="of the rows", where=f"{len(read)} rows",
        saw=f"{share:.0%} of the rows have come before" if share > 0.2 else "",
    )  # fmt: skip


@law(
    "data/resumes",
    statement="A loader that is saved and loaded goes on with the next batch.",
    source="torchdata, StatefulDataLoader: state_dict and load_state_dict",
    looks="Reads three batches, moves the state to a fresh copy and compares its next two.",
    tolerance="None.",
    symptoms="After a restart the first part of the data is learned again, and the last part never.",
    causes="The cursor, the epoch or the shuffled order is not in the state.",
    needs=("loader",),
)
def resumes(subject: Subject) -> Evidence:
    """Stopped after batch 3, a run goes on with batch 4; a state without a cursor begins again with batch 1."""
    loader, fresh = reader(subject.loader), reader(subject.loader)
    if not (hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")):
        raise NotApplicable("the loader has no state_dict and load_state_dict")
    going = iter(loader)
    if len(take(going, 3)) < 3:
        raise NotApplicable("an epoch of fewer than four batches")
    state, chance = copy.deepcopy(loader.state_dict()), torch.get_rng_state()
    expected = take(going, 2)
    torch.set_rng_state(chance)
    fresh.load_state_dict(state)
    found = take(fresh, len(expected))
    wrong = sum(a is None or b is None or not same(a, b) for a, b in itertools.zip_longest(expected, found))
    return Evidence(
        measured=float(wrong), bound=0.0, unit="batches", where="after the third batch",
        saw="other batches come after loading than would have come" if wrong else "",
    )  # fmt: skip
