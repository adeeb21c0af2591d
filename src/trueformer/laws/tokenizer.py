"""Tokenizers: the text that goes in comes out; the laws of ids, bytes, special tokens, saving and data
are in the files beside this one.
"""

import importlib
from collections import Counter
from collections.abc import Iterable

from trueformer.laws.counted import evidence_of, none_of
from trueformer.laws.law import Evidence, law
from trueformer.laws.tokenizer_speech import (
    ENGLISH,
    PRINTABLE,
    alphabet,
    blocks,
    given,
    speech_of,
    strayed,
)
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

EXACT = "0: a tokenizer that does not normalise is a bijection on what it knows."
LOST = ("normalised", "lost", "changed")
NORMALISES = "it normalises: what comes back differs from what went in by case, accents or spaces"


def returned(subject: Subject, texts: Iterable[str]) -> Evidence:
    """How many of the texts come back as other texts; unknown characters and refusals are another law's.

    Raises:
        NotApplicable: the tokenizer normalises, or knows none of the texts.
    """
    speech = speech_of(subject)
    if any(speech.back(text)[0] == "normalised" for text in (ENGLISH, "É", "é", "A")):
        raise NotApplicable(NORMALISES)
    outcomes = {text: speech.back(text) for text in texts}
    changed = Counter(came for kind, came in outcomes.values() if kind == "changed")
    nameless = {
        came for came, n in changed.items() if n > 4
    }  # an unknown token that looks like another character
    outcomes = {text: told for text, told in outcomes.items() if told[1] not in nameless}
    known = {text: told for text, told in outcomes.items() if told[0] not in ("unknown", "refused")}
    if not known:
        raise NotApplicable("it knows none of the characters that this law tries")
    exact = sum(kind == "exact" for kind, _ in outcomes.values())
    faults = (
        ("changed", "lost") if exact > 0.8 * len(outcomes) else ("changed",)
    )  # all but a few: it knows all
    wrong = {text: came for text, (kind, came) in known.items() if kind in faults}
    if len(wrong) < len(known) / 2 and any(kind == "normalised" for kind, _ in known.values()):
        raise NotApplicable(NORMALISES)
    first = next(iter(wrong), "")
    return none_of(
        len(wrong),
        unit=f"of {len(known)} texts",
        where=f"text {first[:20]!r}" if wrong else "",
        saw=f"{first[:30]!r} comes back as {wrong[first][:30]!r}" if wrong else "",
    )


@law(
    "tokenizer/round-trip",
    statement="Text of any Unicode block comes back as it went in.",
    source="Byte-level BPE: Radford et al. 2019, §2.2",
    looks="Encodes and decodes characters of each block of Unicode, and all that it knows; unknown ones are left out.",
    tolerance=EXACT,
    symptoms="Names, quotes and foreign words come out garbled; the model never learns to spell them.",
    causes="ids from ord(c) % n; a decoder made from another vocabulary, such as range(vocab_size); wrong bytes.",
    needs=("tokenizer",),
)
def round_trip(subject: Subject) -> Evidence:
    """`ord("é") % 100` is 33, which is also `ord("!")`: after decoding nobody knows which it was.

    A table of the characters that occur, with one id for all others, comes back exactly or says so.
    """
    letters = alphabet(speech_of(subject))
    return returned(subject, [ENGLISH, *blocks(), *PRINTABLE, letters, letters[::-1]])


@law(
    "tokenizer/white-space",
    statement="Runs of spaces, tabs and line ends come back as they went in.",
    source="Byte-level BPE: Radford et al. 2019, §2.2",
    looks="Encodes and decodes runs of white space alone, between words, at the start and at the end.",
    tolerance=EXACT,
    symptoms="Generated code has lost its indentation; paragraphs run together.",
    causes="Splitting at spaces and joining with one; strip() before encoding.",
    needs=("tokenizer",),
    advice=True,
)
def white_space(subject: Subject) -> Evidence:
    """`" ".join(text.split())` turns `"if x:\\n    y"` into `"if x: y"`, which is another program."""
    speech = speech_of(subject)
    texts = [run * n for run in (" ", "\n", "\t", "\r\n") for n in (1, 2, 3, 17)]
    texts += ["  a", "a  ", "a  b", "\na\n\n\nb\n", "if x:\n\ty\n    z"]
    return evidence_of(strayed(speech, texts, LOST), unit=f"of {len(texts)} texts")


@law(
    "tokenizer/character-count",
    statement="A tokenizer that has an id for each character has one for each space and line end too.",
    source="Definition of a character tokenizer",
    looks="Where words have as many ids as letters, counts the ids of text with spaces inside and around.",
    tolerance="0 ids missing.",
    symptoms="Words run together; a generated line never ends.",
    causes="strip() or split() before encoding.",
    needs=("tokenizer",),
)
def character_count(subject: Subject) -> Evidence:
    """`[table[c] for c in text.strip()]` loses the line end, which the model then never learns to write."""
    speech = speech_of(subject)
    if any(len(given(speech, word)) != len(word) for word in ("a", "dog", "the dog", "quick brown fox")):
        raise NotApplicable("it is no tokenizer of single characters")
    texts = (" ", "\n", "dog ", " dog", "dog\n", "the  dog", "the dog \n\n a fox ")
    counts = {text: len(given(speech, text)) for text in texts}
    wrong = [f"{text!r} has {count} ids" for text, count in counts.items() if count != len(text)]
    return evidence_of(wrong, unit=f"of {len(texts)} texts")


@law(
    "tokenizer/control-characters",
    statement="No control character comes back as another one.",
    source="Unicode 16, §23.1",
    looks="Encodes and decodes the 65 control characters, five between two letters.",
    tolerance="0 may become another control character; leaving them out, or spaces for them, is normalising.",
    symptoms="Text with a form feed or a null is cut or changed.",
    causes="Bytes below 32 missing from the table of bytes; strings that end at a null.",
    needs=("tokenizer",),
)
def control_characters(subject: Subject) -> Evidence:
    """A table of bytes with one missing shifts the rest: "\\x05" is encoded as 4, and comes back as "\\x04"."""
    speech = speech_of(subject)
    codes = [*range(32), *range(127, 160)]
    texts = [f"a{''.join(map(chr, codes[i : i + 5]))}b" for i in range(0, len(codes), 5)]
    wrong = []
    for text in texts:
        kind, came = speech.back(text)
        others = [
            b for a, b in zip(text, came, strict=False) if a != b and b in map(chr, codes) and b != "\n"
        ]
        if kind in ("changed", "normalised") and len(came) == len(text) and others:
            wrong.append(f"{text!r} comes back as {came!r}")
    return evidence_of(wrong, unit=f"of {len(texts)} texts")


@law(
    "tokenizer/lost-characters",
    statement="A character that the tokenizer does not know leaves an unknown token, not nothing.",
    source="tokenizers, models.BPE(unk_token=…)",
    looks="Counts the Unicode blocks of which characters vanish without an unknown token.",
    tolerance="0: what is lost should be seen.",
    symptoms="Words with a rare letter are shorter than they were; perplexity looks better than it is.",
    causes="[table[c] for c in text if c in table].",
    needs=("tokenizer",),
    advice=True,
)
def lost_characters(subject: Subject) -> Evidence:
    """`"naïve"` becomes `"nave"`, another word. With an unknown token it is `"na\ufffdve"`, and can be counted."""
    return evidence_of(strayed(speech_of(subject), blocks(), ("lost",)), unit="blocks")


@law(
    "tokenizer/unknown-characters",
    statement="A character never seen before is encoded, or refused in words.",
    source="T17 of the catalogue of defects",
    looks="Encodes characters of many scripts one by one; an error that is no ValueError is a crash.",
    tolerance="0 crashes.",
    symptoms="The server dies with KeyError: '…' at the first emoji.",
    causes="A table of characters without an unknown token.",
    needs=("tokenizer",),
)
def unknown_characters(subject: Subject) -> Evidence:
    """`[table[c] for c in text]` raises `KeyError: '🙂'`. `table.get(c, unknown)` does not."""
    speech = speech_of(subject)
    crashes = []
    for text in [*(block[:1] for block in blocks()), "🙂", "中", "\x00"]:
        try:
            speech.encode(text)
        except ValueError:
            continue
        except Exception as error:  # noqa: BLE001 - a crash of any kind is what is counted
            crashes.append(f"{text!r} raises {type(error).__name__}: {error}")
    return evidence_of(crashes, unit="crashes")


@law(
    "tokenizer/surrogates",
    statement="A lone surrogate is refused, kept, or replaced where it can be seen.",
    source="Unicode 16, §3.9: a lone surrogate is no character",
    looks="Encodes and decodes text with half of a UTF-16 pair.",
    tolerance="0 letters around it may change.",
    symptoms="Text scraped from JSON comes out with pieces missing.",
    causes='text.encode(errors="ignore").',
    needs=("tokenizer",),
)
def surrogates(subject: Subject) -> Evidence:
    """`"a\\ud800b"` has no UTF-8. Refusing it, keeping it, or `"a\ufffdb"` are all honest; `"ab"` is not."""
    speech = speech_of(subject)
    bad = []
    for text in ("a\ud800b", "\udc80", "ab\udfff"):
        kind, came = speech.back(text)
        replaced = len(came) > len(text) - 1 and "a" in came if "a" in text else bool(came)
        if kind in ("lost", "normalised", "changed") and not replaced:
            bad.append(f"{text!r} comes back as {came!r}")
    if bad and speech.back("a🙂b")[0] != "exact":
        raise NotApplicable("it leaves out characters that it does not know, which another law speaks of")
    return evidence_of(bad, unit="texts")


@law(
    "tokenizer/empty",
    statement="Empty text has no ids, and no ids are empty text.",
    source="Definition of concatenation",
    looks="Encodes '' without special tokens and decodes [].",
    tolerance="0 ids, 0 characters.",
    symptoms="Every empty line adds a stray token; an empty answer crashes the chat.",
    causes="A space put in front of every text; max() or [-1] of nothing.",
    needs=("tokenizer",),
)
def empty(subject: Subject) -> Evidence:
    """encode(a) + encode(b) should begin like encode(a + b); with b = '' that leaves nothing to add."""
    speech = speech_of(subject)
    ids, text = speech.encode(""), speech.decode([])
    saw = f"'' has the ids {ids}" if ids else f"[] is the text {text!r}" if text else ""
    return none_of(len(ids) + len(text), saw=saw)


@law(
    "tokenizer/streams",
    statement="Text decoded in two pieces is the text, wherever no character is split.",
    source="Text is shown as it is generated, token by token",
    looks="Decodes every beginning and rest of a sentence's ids.",
    tolerance="0 differences; pieces with U+FFFD are split characters and left out.",
    symptoms="Streamed text lacks spaces between words that the whole text has.",
    causes="A decoder that strips the first space of whatever it gets.",
    needs=("tokenizer",),
    advice=True,
)
def streams(subject: Subject) -> Evidence:
    """decode([hello]) + decode([world]) is "helloworld" where the decoder strips the space of each piece.

    Who streams must then decode all ids so far and show what is new.
    """
    speech = speech_of(subject)
    ids = speech.encode(ENGLISH)
    whole = speech.decode(ids)
    halves = [(speech.decode(ids[:i]), speech.decode(ids[i:])) for i in range(len(ids))]
    wrong = [a + b for a, b in halves if "\ufffd" not in a + b and a + b != whole]
    return evidence_of([f"{whole!r} comes in pieces as {came!r}" for came in wrong], unit="places")


@law(
    "tokenizer/whole",
    statement="A long text is encoded to its end.",
    source="tokenizers, Tokenizer.enable_truncation",
    looks="Encodes 3000 words, and looks for the last one in what comes back.",
    tolerance="0 characters missing at the end.",
    symptoms="Everything after the first 512 tokens of a document is never trained on.",
    causes="Truncation left on in a saved tokenizer.json.",
    needs=("tokenizer",),
)
def whole(subject: Subject) -> Evidence:
    """A tokenizer.json saved by a training script keeps `"truncation": {"max_length": 128}`: 90 % of a book is lost."""
    speech = speech_of(subject)
    word = speech.decode(speech.encode("dog "))
    ids = speech.encode("dog " * 3000)
    came = speech.decode(ids)
    if not word.strip():
        raise NotApplicable("it does not know the letters of 'dog'")
    found = came.count(word.strip())
    return none_of(
        3000 - found,
        unit="words missing",
        saw=f"of 3000 words {found} are left" if found < 3000 else "",
    )


for part in ("bytes", "saved", "ids", "special", "data"):
    importlib.import_module(f"trueformer.laws.tokenizer_{part}")
