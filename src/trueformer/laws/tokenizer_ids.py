"""The ids of a tokenizer: batches, and the vocabulary beside the model's. Part of `tokenizer.py`."""

import contextlib
import unicodedata

from trueformer.laws.counted import evidence_of, none_of
from trueformer.laws.law import Evidence, law
from trueformer.laws.tokenizer_speech import (
    ENGLISH,
    TEXTS,
    blocks,
    folded,
    given,
    ids_in,
    speech_of,
)
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject


@law(
    "tokenizer/steady",
    statement="The same text has the same ids each time.",
    source="Encoding is a function",
    looks="Encodes sentences, others between them, and the first ones again.",
    tolerance="0 texts may differ.",
    symptoms="Evaluation differs from run to run; prompts no longer match the cache.",
    causes="BPE dropout left on after training; state kept between calls.",
    needs=("tokenizer",),
)
def steady(subject: Subject) -> Evidence:
    """BPE dropout leaves out merges at random, which is meant for training data alone."""
    speech = speech_of(subject)
    first = [speech.encode(text) for text in TEXTS]
    again = [[speech.encode(text) for text in TEXTS] for _ in range(5)]
    wrong = [i for i in range(len(TEXTS)) if any(round[i] != first[i] for round in again)]
    saw = f"{TEXTS[wrong[0]][:30]!r} is {first[wrong[0]]}, later something else" if wrong else ""
    return none_of(len(wrong), unit="texts", saw=saw)


@law(
    "tokenizer/batch",
    statement="Each text of a batch has the ids that it has alone.",
    source="N1 of the catalogue of defects",
    looks="Encodes texts of unequal length together and alone.",
    tolerance="0 texts may differ.",
    symptoms="A model trained on batches meets other tokens when it is asked one question.",
    causes="Padding or truncation left on; special tokens added on one path only.",
    needs=("tokenizer",),
)
def batch(subject: Subject) -> Evidence:
    """`encode_batch` that forgets what `encode` does: the data is prepared by the one, the chat by the other."""
    speech = speech_of(subject)
    return _compared(speech.batch(TEXTS), [speech.encode(text) for text in TEXTS])


@law(
    "tokenizer/batch-by-default",
    statement="Encoded with no arguments, each text of a batch has the ids that it has alone.",
    source="N1 of the catalogue of defects",
    looks="Encodes texts of unequal length together and alone, as the tokenizer does when nothing is asked.",
    tolerance="0 texts may differ.",
    symptoms="Prompts begin with the token that begins a text, training data does not; or the other way round.",
    causes="Special tokens are added on one path only.",
    needs=("tokenizer",),
)
def batch_by_default(subject: Subject) -> Evidence:
    """Where encode() puts BOS in front by itself, encode_batch() must too, or neither."""
    speech = speech_of(subject)
    speech.batch(TEXTS)  # whether it takes several at all
    function = speech.batch_function()
    rows = function(TEXTS)
    rows = rows["input_ids"] if hasattr(rows, "keys") else rows
    return _compared([ids_in(row) for row in rows], [ids_in(speech.tokenizer.encode(text)) for text in TEXTS])


def _compared(together: list[list[int]], alone: list[list[int]]) -> Evidence:
    wrong = [i for i, (a, b) in enumerate(zip(together, alone, strict=True)) if a != b]
    saw = f"in a batch {together[wrong[0]][:12]}, alone {alone[wrong[0]][:12]}" if wrong else ""
    where = f"text {wrong[0]} of the batch" if wrong else ""
    return none_of(len(wrong), unit="texts", where=where, saw=saw)


@law(
    "tokenizer/contiguous",
    statement="Every id from 0 to the size of the vocabulary can be decoded.",
    source="A model may generate any of them",
    looks="Decodes ids one at a time: the first and last 300, and 1000 between.",
    tolerance="0 errors.",
    symptoms="Generation crashes now and then, when the model draws an id that has no text.",
    causes="Gaps after special tokens; a vocabulary counted without them; an id that is one too large.",
    needs=("tokenizer",),
)
def contiguous(subject: Subject) -> Evidence:
    """With ids 0–255 for bytes and special tokens from 300 on, vocab_size is 304 and 44 ids mean nothing."""
    speech = speech_of(subject)
    size = speech.size
    between = range(300, size - 300, max(1, size // 1000))
    ids = [*range(min(size, 300)), *between, *range(max(300, size - 300), size)]
    wrong = []
    for i in ids:
        try:
            speech.decode([i])
        except Exception as error:  # noqa: BLE001 - any error at decoding is what is counted
            wrong.append(f"id {i} raises {type(error).__name__}: {error}")
    return evidence_of(wrong, unit=f"of {len(ids)} ids")


@law(
    "tokenizer/fits-model",
    statement="Every id that the tokenizer gives has a row in the model's embedding.",
    source="A12 of the catalogue of defects",
    looks="Encodes all samples; compares the largest id, and the tokenizer's size, with the model's vocabulary.",
    tolerance="The largest id is vocab_size - 1; more rows than ids are legal.",
    symptoms="IndexError, or a device assertion on a GPU, at the first rare token.",
    causes="Special tokens added after the model was built; a vocab_size typed by hand.",
    needs=("tokenizer",),
)
def fits_model(subject: Subject) -> Evidence:
    """GPT-2 has 50257 ids; with one added for padding the id 50257 needs a 50258th row."""
    speech = speech_of(subject)
    rows = subject.vocab_size or 0
    largest = max((i for text in [*TEXTS, *blocks()] for i in given(speech, text)), default=0)
    with contextlib.suppress(NotApplicable):
        largest = max(largest, speech.size - 1)
    saw = f"ids go up to {largest}, the model has {rows} rows" if largest >= rows else ""
    return Evidence(measured=float(largest), bound=float(rows - 1), unit="largest id", saw=saw)


@law(
    "tokenizer/rows-used",
    statement="Most rows of the embedding stand for a token.",
    source="A12 of the catalogue of defects",
    looks="Compares the tokenizer's size with the model's vocabulary.",
    tolerance="Half as many rows again: padding to a multiple of 128, or room for special tokens, is far less.",
    symptoms="Memory and time go into logits that no text ever asks for.",
    causes="vocab_size of another tokenizer.",
    needs=("tokenizer",),
    advice=True,
)
def rows_used(subject: Subject) -> Evidence:
    """A tokenizer of 1000 ids with 16000 rows: 15000 are never trained, yet each is in every softmax."""
    size, rows = speech_of(subject).size, subject.vocab_size or 0
    saw = f"{rows} rows for {size} ids" if rows > 1.5 * size + 128 else ""
    return Evidence(measured=float(rows), bound=1.5 * size + 128, unit="rows", saw=saw)


@law(
    "tokenizer/distinct",
    statement="Different characters have different ids.",
    source="A12 of the catalogue of defects",
    looks="Encodes one character at a time; case, accents and what is unknown to all alike are left out.",
    tolerance="0 ids shared.",
    symptoms="Ids of rare characters come back as common ones; the model learns them as one.",
    causes="ord(c) % n, or another hash into a small table.",
    needs=("tokenizer",),
)
def distinct(subject: Subject) -> Evidence:
    """ord("a") is 97 and ord("ѡ") is 1121 = 1024 + 97: modulo 1024 they are one token."""
    speech = speech_of(subject)
    shared: dict[tuple[int, ...], list[str]] = {}
    for c in dict.fromkeys(c for text in [ENGLISH, *blocks()] for c in text):
        ids = tuple(given(speech, c))
        if ids and speech.role("unk") not in ids and folded(c):
            shared.setdefault(ids, []).append(c)
    groups = [group for group in shared.values() if len({folded(c) for c in group}) > 1]
    groups.sort(key=len)
    groups = groups[:-1] if groups and len(groups[-1]) > 20 else groups  # an unknown token without a name
    groups = [group for group in groups if not _same_letter(group)]
    wrong = [f"{one!r} and {other!r} are both {given(speech, one)}" for one, other, *_ in groups]
    return evidence_of(wrong, unit="ids")


def _same_letter(group: list[str]) -> bool:
    """Whether Unicode calls them variants of one: normalisers join those."""
    names = {unicodedata.name(c, "?").split(" WITH ")[0].replace("SMALL", "CAPITAL") for c in group}
    return len(names) == 1
