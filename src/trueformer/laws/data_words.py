"""Words that are found again: planted in texts and conversations, they show what somebody's code made of those.

A row of a batch becomes a `Line`: its tokens in order, which of them are learned, and where the planted words are.
Shapes: B rows, T tokens.
"""

import random
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from trueformer.laws.data_batches import Batch, differing, in_rows
from trueformer.laws.tokenizer_speech import Speech, alphabet
from trueformer.subject.errors import NotApplicable

PLANTED = re.compile(r"(?=(\d[a-z][a-z]\d))")  # so made that two words side by side hold no third
TEXT_OFFSETS = (0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A planted word in a row: its first and last token."""

    word: str
    first: int
    last: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A row's tokens, the last target among them; `learned` says which are targets that count."""

    ids: list[int]
    learned: list[bool]
    places: list[Place]

    def is_learned(self, place: Place) -> bool:
        """Whether every token of a word is a target."""
        return all(self.learned[place.first : place.last + 1])


def planted_words(speech: Speech, count: int) -> list[str]:
    """Words of no language that the tokenizer gives back as they are, such as 4xk7.

    Raises:
        NotApplicable: it knows too few digits and letters.
    """
    known = alphabet(speech)
    digits = [c for c in string.digits if c in known]
    letters = [c for c in string.ascii_lowercase if c in known]
    every = [a + b + c + d for a in digits for b in letters for c in letters for d in digits]
    if len(every) < count:
        raise NotApplicable(
            "the tokenizer knows too few digits and letters to plant words that are found again"
        )
    return random.Random(0).sample(every, count)


def lines(wholes: Iterable[Any], speech: Speech) -> list[Line]:
    """Each row of these batches.

    Raises:
        NotApplicable: the batches hold no rows of ids.
    """
    found = in_rows(wholes)
    pad = speech.role("pad")
    ahead = min(TEXT_OFFSETS, key=lambda places: differing(found, places, pad))
    pieces: dict[int, str] = {}
    return [
        _line(list(_tokens(batch, row, ahead)), speech, pieces)
        for batch in found
        for row in range(len(batch.inputs))
    ]


def _tokens(batch: Batch, row: int, ahead: int) -> Iterator[tuple[int, bool]]:
    """The tokens of a row and whether each is learned: the targets that count, and inputs where none does."""
    ids, counted = batch.inputs[row].tolist(), batch.counted[row].tolist()
    targets = ids if batch.targets is None else batch.targets[row].tolist()
    if not ahead:
        yield from zip(ids, counted, strict=True)
        return
    yield ids[0], False
    for target, counts, following in zip(targets, counted, [*ids[1:], None], strict=True):
        if counts:
            yield target, True
        elif following is not None:
            yield following, False


def _line(tokens: list[tuple[int, bool]], speech: Speech, pieces: dict[int, str]) -> Line:
    """The tokens with the planted words in what they spell; only letters and digits are looked at."""
    owners, text = [], ""
    for number, (token, _) in enumerate(tokens):
        if token not in pieces:
            pieces[token] = _letters(speech, token)
        text += pieces[token]
        owners += [number] * len(pieces[token])
    return Line(
        ids=[token for token, _ in tokens],
        learned=[learned for _, learned in tokens],
        places=[
            Place(word=match[1], first=owners[match.start(1)], last=owners[match.end(1) - 1])
            for match in PLANTED.finditer(text)
        ],
    )


def _letters(speech: Speech, token: int) -> str:
    try:
        piece = speech.decode([token])
    except Exception:  # noqa: BLE001 - an id that the tokenizer does not know spells nothing
        return ""
    return "".join(c for c in piece.casefold() if c.isalnum())
