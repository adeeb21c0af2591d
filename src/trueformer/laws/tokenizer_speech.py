"""How somebody's tokenizer is spoken to: read from the names of its methods and parameters, never from its class.

Understood are `encode(text)` giving a list, an array or an object with `.ids`, and `decode(ids)` giving text: those of
transformers, tokenizers, tiktoken and homemade ones. Also the texts that the laws try.
"""

import functools
import inspect
import string
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

PLAIN = {"add_special_tokens": False, "disallowed_special": (), "bos": False, "eos": False, "add_bos": False,
         "add_eos": False}  # fmt: skip
KEEP = {"skip_special_tokens": False, "skip_special": False, "clean_up_tokenization_spaces": False}
UNKNOWN_MARKS = ("\ufffd", "<unk>", "[UNK]", "<|unk|>", "⁇")
ENGLISH = "The quick brown Fox can't jump 13 times, over the lazy dog."
PRINTABLE = string.printable
LETTERS = string.ascii_lowercase
TEXTS = [ENGLISH, "a", "one two", ENGLISH * 3, "fox 13"]


class Speech:
    """A tokenizer's encode and decode, without special tokens in front and without dropping any."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not callable(getattr(tokenizer, "encode", None)) or not callable(
            getattr(tokenizer, "decode", None)
        ):
            raise NotApplicable("the tokenizer has no encode(text) and decode(ids)")
        self._plain, self._keep = asked(tokenizer.encode, PLAIN), asked(tokenizer.decode, KEEP)

    def encode(self, text: str, **more: Any) -> list[int]:
        """The ids of a text alone; `more` are further arguments of its own encode."""
        return ids_in(self.tokenizer.encode(text, **self._plain | more))

    def decode(self, ids: Sequence[int], **more: Any) -> str:
        """The text of these ids, special ones shown where it can."""
        return str(self.tokenizer.decode(list(ids), **self._keep | more))

    def batch(self, texts: list[str], **more: Any) -> list[list[int]]:
        """The ids of several texts at once.

        Raises:
            NotApplicable: it takes one text at a time.
        """
        function = self.batch_function()
        try:
            rows = function(texts, **asked(function, PLAIN) | more)
            rows = rows["input_ids"] if hasattr(rows, "keys") else rows
            return [ids_in(row) for row in rows]
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            if function == self.tokenizer.encode:
                raise NotApplicable("it encodes one text at a time") from error
            raise

    def batch_function(self) -> Callable[..., Any]:
        """What encodes several texts: `encode_batch`, the call of a Hugging Face tokenizer, or `encode` of a list."""
        named = getattr(self.tokenizer, "encode_batch", None)
        if named is not None:
            return named
        return self.tokenizer if hasattr(self.tokenizer, "all_special_ids") else self.tokenizer.encode

    @functools.cached_property
    def size(self) -> int:
        """How many ids it has.

        Raises:
            NotApplicable: it does not tell.
        """
        sizes = [getattr(self.tokenizer, name, None) for name in ("vocab_size", "n_vocab", "n_words")]
        sizes += [getattr(self.tokenizer, "get_vocab_size", None)]
        found = [int(size() if callable(size) else size) for size in sizes if size is not None]
        if hasattr(self.tokenizer, "__len__"):
            found.append(len(self.tokenizer))
        if not found:
            raise NotApplicable("the tokenizer does not tell its size: expected vocab_size")
        return max(found)

    def role(self, name: str) -> int | None:
        """The id of `bos`, `eos`, `pad` or `unk`, if it has one by any of the usual names."""
        for spelled in (f"{name}_id", f"{name}_token_id", f"{name}_idx", f"get_{name}_token_id"):
            value = getattr(self.tokenizer, spelled, None)
            value = value() if callable(value) else value
            if isinstance(value, int) and value >= 0:
                return value
        return None

    @functools.cached_property
    def special(self) -> dict[str, int]:
        """The special tokens it tells of, by their text."""
        for name in ("special_ids", "special_tokens", "_special_tokens"):
            found = getattr(self.tokenizer, name, None)
            if isinstance(found, dict):
                return {str(text): i for text, i in found.items() if isinstance(i, int)}
        if hasattr(self.tokenizer, "all_special_ids"):
            pairs = zip(self.tokenizer.all_special_tokens, self.tokenizer.all_special_ids, strict=True)
            return {str(text): int(i) for text, i in pairs}
        if hasattr(self.tokenizer, "get_added_tokens_decoder"):
            added = self.tokenizer.get_added_tokens_decoder()
            return {token.content: i for i, token in added.items() if token.special}
        return {}

    def back(self, text: str) -> tuple[str, str]:
        """What becomes of a text (`exact`, `normalised`, `lost`, `unknown`, `refused`, `changed`), and what came back."""
        try:
            ids = self.encode(text)
        except Exception as error:  # noqa: BLE001 - a refusal of whatever kind; another law judges which
            return "refused", str(error)
        came = self.decode(ids)
        if came == text:
            return "exact", came
        if self._unknown(text, ids, came):
            return "unknown", came
        if folded(came) == folded(text):
            return "normalised", came
        return ("lost" if _inside(came, text) else "changed"), came

    def _unknown(self, text: str, ids: list[int], came: str) -> bool:
        if self.role("unk") in ids or any(mark in came and mark not in text for mark in UNKNOWN_MARKS):
            return True
        differ = [b for a, b in zip(text, came, strict=False) if a != b]
        return (
            len(came) == len(text) and len(differ) > 2 and len(set(differ)) == 1
        )  # one character stands for all unknown ones


def speech_of(subject: Subject) -> Speech:
    """The subject's tokenizer, ready to be spoken to."""
    return Speech(subject.tokenizer)


def given(speech: Speech, text: str, **more: Any) -> list[int]:
    """The ids of a text; none where it is refused, whether in words or by a crash."""
    try:
        return speech.encode(text, **more)
    except Exception:  # noqa: BLE001 - that unknown characters crash is a law of its own
        return []


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a function by name; none where Python cannot tell."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def asked(function: Callable[..., Any], wishes: dict[str, Any]) -> dict[str, Any]:
    """Those of the wishes that the function has a parameter for; a Hugging Face tokenizer takes them all by `**`."""
    known = parameters(function)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in known.values()) and "skip_special_tokens" in known
    usual = "clean_up_tokenization_spaces"
    return {name: wish for name, wish in wishes.items() if name in known or (takes_all and name == usual)}


def ids_in(given: Any) -> list[int]:
    """The ids in a list, an array, or an object that holds them."""
    if hasattr(given, "ids"):
        given = given.ids
    elif hasattr(given, "keys"):
        given = given["input_ids"]
    if hasattr(given, "tolist"):
        given = given.tolist()
    if len(given) == 1 and isinstance(given[0], list):
        given = given[0]
    return [int(i) for i in given]


def folded(text: str) -> str:
    """A text without what normalisers change: case, accents, widths, spaces, invisible characters."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(c for c in plain if unicodedata.category(c)[0] not in "MCZ" and c != "▁")


def strayed(speech: Speech, texts: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """A sentence about each text that comes back as one of these kinds: see `Speech.back`."""
    outcomes = ((text, *speech.back(text)) for text in texts)
    return [f"{text!r} comes back as {came!r}" for text, kind, came in outcomes if kind in kinds]


def made_by_text(speech: Speech) -> dict[int, str]:
    """The ids that ordinary text makes, each with such a text; those that every text has are no doing of the text."""
    rows = {text: ids for text in (ENGLISH, *PRINTABLE, *blocks()) if (ids := given(speech, text))}
    always = set.intersection(*map(set, rows.values())) if rows else set()
    return {i: text for text, ids in reversed(rows.items()) for i in ids if i not in always}


def spoken_roles(subject: Subject) -> dict[str, int]:
    """The ids that begin and end a text, as declared or as the tokenizer tells."""
    speech, claims = speech_of(subject), subject.claims
    bos = speech.role("bos") if claims.bos_id is None else claims.bos_id
    eos = speech.role("eos") if claims.eos_id is None else claims.eos_id
    return {role: i for role, i in (("bos", bos), ("eos", eos)) if i is not None}


def alphabet(speech: Speech) -> str:
    """The printable characters that come back as they are, each alone."""
    return "".join(c for c in PRINTABLE if speech.back(c)[0] == "exact")


def _inside(short: str, long: str) -> bool:
    """Whether `short` is `long` with characters left out."""
    rest = iter(long)
    return all(c in rest for c in short)


@functools.cache
def blocks() -> tuple[str, ...]:
    """Eight characters of each stretch of 256 code points that has assigned ones."""
    found = []
    for start in [*range(0, 0x32000, 0x100), 0xE000, 0xE0000, 0xE0100, 0xF0000]:
        assigned = [
            chr(i) for i in range(start, start + 0x100) if unicodedata.category(chr(i)) not in ("Cn", "Cs")
        ]
        if assigned:
            found.append("".join(assigned[:: max(1, len(assigned) // 8)][:8]))
    return tuple(found)
