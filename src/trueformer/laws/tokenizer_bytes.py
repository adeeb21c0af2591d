"""The bytes behind a tokenizer's ids: how many each stands for, and that none is missing. Part of `tokenizer.py`."""

import contextlib
from collections.abc import Callable
from typing import Any

from trueformer.laws.counted import evidence_of
from trueformer.laws.law import Evidence, law
from trueformer.laws.tokenizer_speech import (
    ENGLISH,
    Speech,
    alphabet,
    blocks,
    made_by_text,
    parameters,
    speech_of,
    spoken_roles,
    strayed,
)
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

SOURCE = "Bits per byte: Gao et al. 2020, arXiv:2101.00027, §3.1"
PARTS = 100  # UTF-8 has 115 bytes that are only part of a character


@law(
    "tokenizer/every-character",
    statement="A tokenizer with ids for single bytes encodes every character.",
    source="Byte-level BPE: Radford et al. 2019, §2.2",
    looks="Where 100 ids alone decode to U+FFFD, parts of characters: encodes characters of each block of Unicode.",
    tolerance="0 blocks unknown or lost: with all bytes, nothing is.",
    symptoms="Text in other scripts turns into question marks, or vanishes, though the vocabulary could spell it.",
    causes='text.encode("latin-1", "replace") or "ascii"; BPE trained without the alphabet of all bytes.',
    needs=("tokenizer",),
)
def every_character(subject: Subject) -> Evidence:
    """The bytes of "李" are 230, 157 and 142: a vocabulary with these ids can spell it, and "?" is a bug on the way."""
    speech = speech_of(subject)
    if _parts_of_characters(speech) < PARTS:
        raise NotApplicable("it has no ids for all single bytes")
    return evidence_of(strayed(speech, blocks(), ("unknown", "lost")), unit=f"of {len(blocks())} blocks")


def _parts_of_characters(speech: Speech) -> int:
    """How many of the first ids are part of a character: alone they decode to U+FFFD."""
    alone = []
    for i in range(min(speech.size, 600)):
        with contextlib.suppress(Exception):  # an id that cannot be decoded is another law's
            alone.append(speech.decode([i]))
    return alone.count("\ufffd")


@law(
    "tokenizer/bytes",
    statement="The bytes of the tokens of a text sum to the bytes of the text.",
    source=SOURCE,
    looks="Sums the given count, or the tokenizer's own, over texts whose characters are split, and its own words.",
    tolerance="0 bytes.",
    symptoms="Bits per byte look better, or worse, than they are; models cannot be compared.",
    causes="len(decode([id]).encode()): a part of a character decodes to U+FFFD, which is three bytes.",
    needs=("tokenizer",),
)
def byte_counts(subject: Subject) -> Evidence:
    """The letter "é" is two bytes. As two tokens, each decodes to "\ufffd": 3 + 3 bytes are counted where there are 2."""
    speech = speech_of(subject)
    count = _bytes_of(subject)
    texts = [ENGLISH, *blocks(), alphabet(speech), *_words(speech)]
    texts = [text for text in texts if text and speech.back(text)[0] == "exact"]
    if not texts:
        raise NotApplicable("no sample comes back exactly")
    wrong = []
    for text in texts:
        counted, there = sum(map(_size, map(count, speech.encode(text)))), len(text.encode())
        if counted != there:
            wrong.append(f"{text[:20]!r} has {there} bytes, its tokens {counted}")
    return evidence_of(wrong, unit=f"of {len(texts)} texts")


def _words(speech: Speech) -> list[str]:
    """The texts of some 500 of its ids, spread over all of them; none where it does not tell how many there are."""
    words = []
    with contextlib.suppress(NotApplicable):
        for i in range(0, speech.size, max(1, speech.size // 500)):
            with contextlib.suppress(Exception):  # an id that cannot be decoded is another law's
                words.append(speech.decode([i]))
    special = set(speech.special)
    return [word for word in words if "\ufffd" not in word and word not in special]


@law(
    "tokenizer/special-bytes",
    statement="Special tokens count no bytes: they stand for no text.",
    source=SOURCE,
    looks="Reads the given count, or the tokenizer's own, at each special token that ordinary text does not make.",
    tolerance="0 bytes.",
    symptoms="Bits per byte look better with each document: the bytes of its end are counted, and are in no file.",
    causes='The count is the length of the token\'s name: "<|eos|>" has seven letters.',
    needs=("tokenizer",),
)
def special_bytes(subject: Subject) -> Evidence:
    """1000 documents of 100 bytes, each with "<|eos|>" counted as seven: 7 % fewer bits per byte, and no better model."""
    speech = speech_of(subject)
    count = _bytes_of(subject)
    named = {i: name for name, i in speech.special.items()} | {
        i: role for role, i in spoken_roles(subject).items()
    }
    typed = {speech.role("unk"), *made_by_text(speech)}
    sizes: dict[int, Any] = {}
    for i in named:
        with contextlib.suppress(LookupError):  # a table of ordinary tokens alone counts none
            sizes |= {} if i in typed else {i: count(i)}
    if not sizes or any(isinstance(size, bytes | bytearray) for size in sizes.values()):
        raise NotApplicable(
            "it tells of no special tokens, or tells the bytes themselves, which may show a name"
        )
    wrong = [f"{named[i]} (id {i}) counts {int(size)} bytes" for i, size in sizes.items() if int(size)]
    return evidence_of(wrong, unit=f"of {len(sizes)} special tokens")


def _bytes_of(subject: Subject) -> Callable[[int], Any]:
    """What an id stands for, in bytes or their number, as the owner gave it or the tokenizer itself tells."""
    source = subject.token_bytes
    for name in ("token_bytes", "decode_single_token_bytes", "piece", "id_to_bytes", "token_to_bytes"):
        source = getattr(subject.tokenizer, name, None) if source is None else source
    if source is None:
        raise NotApplicable(
            "it does not tell the bytes of a token: token_bytes= may give a table or a function"
        )
    if callable(source) and not any(p.default is p.empty for p in parameters(source).values()):
        source = source()
    return source if callable(source) else source.__getitem__


def _size(told: Any) -> int:
    return len(told) if isinstance(told, bytes | bytearray) else int(told)
