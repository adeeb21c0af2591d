"""A tokenizer beside the data that a model learns from: the one was made for the other. Part of `tokenizer.py`."""

import unicodedata
from collections import Counter

from trueformer.laws.data_batches import batches, special_id
from trueformer.laws.law import Evidence, law
from trueformer.laws.tokenizer_speech import LETTERS, Speech, given, speech_of
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

NEEDS = ("tokenizer", "loader")
ENOUGH = 1000  # ids, so that one rare character is no share of them


@law(
    "tokenizer/reads-the-data",
    statement="What the loader gives, decoded, is text.",
    source="T15 of the catalogue of defects",
    looks="Decodes a batch, and counts control characters, unassigned ones and U+FFFD.",
    tolerance="20 %: text has few; a table rebuilt from range(vocab_size) gives half or more.",
    symptoms="A fluent model whose text is gibberish; the loss is fine.",
    causes="A tokenizer rebuilt from range(vocab_size), or another one than the data was made with.",
    needs=NEEDS,
)
def reads_the_data(subject: Subject) -> Evidence:
    """With `itos = {i: chr(i) for i in range(65)}` the ids of "First Citizen" decode to "\x12/8:9\x01…"."""
    speech = speech_of(subject)
    special = {speech.role(role) for role in ("bos", "eos", "pad", "unk")} | set(speech.special.values())
    ids = [i for row in batches(subject)[0].inputs.tolist() for i in row if i >= 0 and i not in special]
    _refuse_noise(ids, speech.size)
    text = speech.decode(ids)
    strange = [c for c in text if unicodedata.category(c) in ("Cc", "Cn", "Co", "Cs") and c not in "\n\t\r"]
    share = (len(strange) + text.count("\ufffd")) / max(1, len(text))
    saw = f"{text[:40]!r} is what the model reads" if share > 0.2 else ""
    return Evidence(measured=share, bound=0.2, unit="of the characters", saw=saw)


def _refuse_noise(ids: list[int], size: int) -> None:
    """Text repeats itself: its ids meet far more often than chance. Ids drawn at random are no text to read."""
    n = len(ids)
    meetings = sum(k * (k - 1) for k in Counter(ids).values()) / max(1, n * (n - 1))
    if n < 100 or meetings * size < 2:
        raise NotApplicable("the loader's first batch is too short, or its ids are as if drawn at random")


@law(
    "tokenizer/knows-the-data",
    statement="Hardly anything in the data is unknown to the tokenizer.",
    source="Kudo & Richardson 2018, arXiv:1808.06226: character coverage",
    looks="Counts the unknown token inside the rows of the first batches; tokenizers of whole words are left out.",
    tolerance="1 %: tables that leave out rare characters on purpose miss 0.05 %.",
    symptoms="The model writes no capital letters, or marks of unknown characters in the middle of words.",
    causes="A table made of other text than is learned, such as text.lower(); another language's tokenizer.",
    needs=NEEDS,
)
def knows_the_data(subject: Subject) -> Evidence:
    """A table of `set(text.lower())` has no "T": "The tree" is learned as "\ufffdhe tree", and written so."""
    speech = speech_of(subject)
    unknown = _unknown_of(subject, speech)
    inside = [_inside(row, unknown) for batch in batches(subject) for row in batch.inputs.tolist()]
    n, lost = sum(map(len, inside)), sum(row.count(unknown) for row in inside)
    if n < ENOUGH:
        raise NotApplicable(f"the loader's first batches hold {n} ids: expected {ENOUGH} to tell a share")
    saw = f"{lost} of {n} ids are the unknown token {unknown}" if lost > 0.01 * n else ""
    return Evidence(measured=lost / n, bound=0.01, unit="of the ids", saw=saw)


def _unknown_of(subject: Subject, speech: Speech) -> int:
    """The id that means an unknown character and nothing else."""
    unknown = speech.role("unk")
    if unknown is None or unknown in [special_id(subject, role) for role in ("bos", "eos", "pad")]:
        raise NotApplicable("it has no token of its own for what is unknown")
    letters = [letter for letter in LETTERS if unknown not in given(speech, letter)]
    if len(letters) < 10:
        raise NotApplicable("it knows few of the letters a to z: it may be for something else than text")
    if given(speech, "".join(letters)) == [unknown]:
        raise NotApplicable("it knows whole words, of which some are always unknown")
    return unknown


def _inside(row: list[int], unknown: int) -> list[int]:
    """The row without what it begins or ends with: the unknown token may be what rows are filled up with."""
    known = [place for place, i in enumerate(row) if i not in (unknown, -100)]
    return row[known[0] : known[-1] + 1] if known else []
