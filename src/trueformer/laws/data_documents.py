"""Laws of documents: numbered where they begin, kept apart by a mark, each on one side of the split.

What the owner's `prepare` makes of documents is judged by known words that are found again in its batches.
Shapes: B rows, T tokens.
"""

import itertools
from typing import Any

from torch import Tensor

from trueformer.laws.data_batches import batches, document_numbers, special_id, take
from trueformer.laws.data_words import Line, Place, lines, planted_words
from trueformer.laws.law import Evidence, law
from trueformer.laws.tokenizer_speech import speech_of
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

DOCUMENTS = 80
WORDS = 4  # in a document
READ = 32  # batches
REFUSALS = (ValueError, RuntimeError, AssertionError, OSError)  # said on purpose, as far as one can tell


@law(
    "data/documents-numbered",
    statement="Where a batch numbers its documents, a new number begins with each document and nowhere else.",
    source="Raffel et al. 2020, arXiv:1910.10683: packing; transformers, DataCollatorWithFlattening",
    looks="Compares where the numbers change along a row with where BOS or EOS says that a document begins.",
    tolerance="10 % may differ.",
    symptoms="Packing hurts: tokens see strangers' texts, or no longer see their own.",
    causes="A cumulative sum along the batch and not along the row; one number for a whole row.",
    needs=("loader",),
)
def documents_numbered(subject: Subject) -> Evidence:
    """`BOS a b BOS c` has the numbers 1 1 1 2 2: a cumulative sum of `ids == BOS` along the tokens."""
    marks = [special_id(subject, name) for name in ("bos", "eos")]
    rows = []
    for batch in batches(subject):
        numbers = document_numbers(subject, batch.whole)
        if numbers is not None and numbers.shape == batch.inputs.shape:
            real = (numbers[:, 1:] >= 0) & (numbers[:, :-1] >= 0)
            rows.append((batch.inputs, numbers[:, 1:] != numbers[:, :-1], real))
    if not rows:
        raise NotApplicable("the batches name no numbers of documents, such as document_ids")
    ways = [_misplaced(rows, mark, late) for mark in marks if mark is not None for late in (False, True)]
    judged = [share for share in ways if share is not None]
    if not judged:
        raise NotApplicable("no BOS or EOS shows where documents begin in the first batches")
    off = min(judged)
    return Evidence(
        measured=off, bound=0.1, unit="of the places", where="the loader's document numbers",
        saw=f"{off:.0%} of the changes of number and the beginnings of documents do not coincide" if off > 0.1 else "",
    )  # fmt: skip


def _misplaced(rows: list[tuple[Tensor, Tensor, Tensor]], mark: int, late: bool) -> float | None:
    """How often only one of the two is there: a new number, and a mark in this place (or, `late`, before it)."""
    wrong = total = marks = 0
    for ids, changes, real in rows:
        if late:  # a mark in the first place may as well begin the row: nothing can be said of it
            ids, changes, real = ids[:, 1:], changes[:, 1:], real[:, 1:]
        begins = (ids[:, :-1] if late else ids[:, 1:]) == mark
        marks += int((begins & real).sum())
        wrong += int(((begins != changes) & real).sum())
        total += int(((begins | changes) & real).sum())
    return wrong / total if marks else None


def _prepared(subject: Subject) -> tuple[dict[str, int], list[Line], list[Line]]:
    """Each word's document, and the rows of training and validation that hold them."""
    return subject.once("prepared documents", lambda: _prepare(subject))


def _prepare(subject: Subject) -> tuple[dict[str, int], list[Line], list[Line]]:
    speech = speech_of(subject)
    words = planted_words(speech, DOCUMENTS * WORDS)
    between = " " if speech.back("a b")[0] == "exact" else ""
    texts = [between.join(words[i : i + WORDS]) for i in range(0, len(words), WORDS)]
    try:
        sides = [lines(take(loader, READ), speech) for loader in _loaders(subject, texts)]
    except REFUSALS as refusal:  # such as one that they are too few for a batch
        raise NotApplicable(f"prepare takes no {DOCUMENTS} short documents: {refusal}") from refusal
    known = {word: i // WORDS for i, word in enumerate(words)}
    if not any(place.word in known for side in sides for line in side for place in line.places):
        raise NotApplicable("no word of the documents is found in the batches that prepare gives")
    return known, sides[0], sides[1]


def _loaders(subject: Subject, texts: list[str]) -> tuple[Any, Any]:
    assert subject.prepare is not None
    made = subject.prepare(texts)
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise NotApplicable(f"prepare gave a {type(made).__name__}: expected (loader, val_loader)")
    return made[0], made[1]


@law(
    "data/documents-marked",
    statement="Between two documents in a row stands a mark that one ends and another begins.",
    source="Radford et al. 2018 (GPT), §3.3: start and end tokens",
    looks="Prepares documents of known words and looks at the tokens between the last of one and the first of the next.",
    tolerance="None. A tokenizer without BOS and EOS is not judged.",
    symptoms="The model goes from one text into another; the first token of a prompt means nothing to it.",
    causes="BOS left out when encoding, alone or in batches.",
    needs=("prepare", "tokenizer"),
)
def documents_marked(subject: Subject) -> Evidence:
    """Packed rows read `… sat EOS BOS the dog …`; without BOS the model learns that `the dog` follows from `sat`."""
    if special_id(subject, "bos") is None and special_id(subject, "eos") is None:
        raise NotApplicable("the tokenizer has no id that begins or ends a document")
    known, train, held_out = _prepared(subject)
    seams = bare = 0
    for line in [*train, *held_out]:
        places = [place for place in line.places if place.word in known]
        for one, other in itertools.pairwise(places):
            if known[one.word] != known[other.word]:
                seams, bare = seams + 1, bare + _touch(one, other)
    if not seams:
        raise NotApplicable(
            "no row that prepare makes holds the end of one document and the beginning of another"
        )
    return Evidence(
        measured=bare / seams, bound=0.0, unit="of the borders", where=f"{seams} borders of documents",
        saw=f"{bare} of {seams} documents follow the one before with nothing between" if bare else "",
    )  # fmt: skip


def _touch(one: Place, other: Place) -> bool:
    return other.first <= one.last + 1


@law(
    "data/split-by-document",
    statement="No document is on both sides of the split.",
    source="Lee et al. 2022, arXiv:2107.06499, for what sharing costs",
    looks="Prepares documents of known words and looks which are in the batches of training and of validation.",
    tolerance="One document: a text that is cut in two where the sides meet.",
    symptoms="The validation loss follows the training loss down, and the model fails on new text.",
    causes="Training reads all documents; windows are shuffled before they are split.",
    needs=("prepare", "tokenizer"),
)
def split_by_document(subject: Subject) -> Evidence:
    """Of 80 documents 8 are held out. Training on all 80 makes their loss a training loss too."""
    known, train, held_out = _prepared(subject)
    sides = [
        {known[place.word] for line in side for place in line.places if place.word in known}
        for side in (train, held_out)
    ]
    if min(map(len, sides)) < 2:
        raise NotApplicable("fewer than two documents are found on one side")
    shared = len(sides[0] & sides[1])
    return Evidence(
        measured=float(shared), bound=1.0, unit="documents", where=f"{len(sides[1])} documents held out",
        saw=f"{shared} of {len(sides[1])} documents of the validation are in the training batches" if shared > 1 else "",
    )  # fmt: skip


@law(
    "data/short-text",
    statement="A text that is too short for one row is refused in words, or filled up.",
    source="PyTorch, torch.utils.data: drop_last, __len__",
    looks="Prepares three documents of one word and asks for the first training batch.",
    tolerance="An error that is said on purpose, or at least one batch.",
    symptoms="A run that ends at once, trains on nothing, or fails far from the cause.",
    causes="A number of rows that is rounded down to 0, and not looked at.",
    needs=("prepare", "tokenizer"),
)
def short_text(subject: Subject) -> Evidence:
    """Ten tokens in rows of 128 are 10 // 128 = 0 rows: a loop over them does nothing, and a division by them fails."""
    texts = planted_words(speech_of(subject), 3)
    count, saw = 1, ""
    try:
        loader, _ = _loaders(subject, texts)
        count, saw = len(take(loader, 1)), "the loader ends before its first batch"
    except REFUSALS:
        pass
    except Exception as error:  # noqa: BLE001 - a crash of whatever kind is what this law is about
        count, saw = 0, f"it fails with {type(error).__name__}: {error}"
    return Evidence(
        measured=float(count), bound=1.0, at_least=True, unit="batches, or a refusal", where="three words",
        saw="" if count else saw,
    )  # fmt: skip
