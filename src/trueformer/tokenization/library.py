"""A tokenizer of the `tokenizers` library behind the project's protocol.

The library splits, merges and runs in parallel threads; this adds what it leaves to its callers:
special-token text in user text stays text unless asked for, BOS goes in front of one text and of each text
of a list alike, and the ids of BOS, EOS, PAD and UNK travel inside `tokenizer.json`, in a template the
library itself reads. So a file saved here opens in `tokenizers` and `transformers`, where it puts BOS in
front as well.

Leaves out SentencePiece-style models: ids must stand for bytes (byte-level BPE) or characters.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import tokenizers
from tokenizers import AddedToken, models
from tokenizers.processors import TemplateProcessing

MAX_VOCAB_SIZE = 2**24  # an id beyond this in an untrusted file would size our tables, not name a token
REPLACEMENT = "\ufffd".encode()


class LibraryTokenizer:
    """A `tokenizers.Tokenizer` whose tokens are bytes or characters, with named special roles.

    `bos`, `eos`, `pad` and `unk` are ids or names of tokens that `library` has; without `pad`, EOS pads.
    `adds_bos`: other programs put BOS in front of a text; SmolLM2, for one, was trained without.

    Raises:
        ValueError: a role names no token of the vocabulary or one that ordinary text makes too, or ids do not
            stand for bytes or characters.
    """

    def __init__(
        self,
        library: tokenizers.Tokenizer,
        *,
        bos: int | str,
        eos: int | str,
        pad: int | str | None = None,
        unk: int | str | None = None,
        adds_bos: bool = True,
    ) -> None:
        library = tokenizers.Tokenizer.from_str(library.to_str())  # a copy: the caller's stays as it is
        library.no_truncation()
        library.no_padding()
        if isinstance(library.model, models.BPE):
            library.model.dropout = None  # random merges, left on in a file, would make encoding random
        given = {"bos": bos, "eos": eos, "pad": eos if pad is None else pad, "unk": unk}
        names = {role: _name(library, role, token) for role, token in given.items() if token is not None}
        library.add_special_tokens([AddedToken(n, normalized=False, special=True) for n in names.values()])
        library.post_processor = _template(library, names, adds_bos)  # type: ignore[assignment]
        self.adds_bos = adds_bos
        self._fill(library, names)

    def _fill(self, library: tokenizers.Tokenizer, names: dict[str, str]) -> None:
        self.library = library  # reads special-token text as special tokens
        self._as_text = tokenizers.Tokenizer.from_str(library.to_str())
        self._as_text.encode_special_tokens = True
        added = library.get_added_tokens_decoder()
        self.special_ids = {token.content: i for i, token in sorted(added.items()) if token.special}
        ids = roles(library)
        self.bos_id, self.eos_id, self.pad_id = ids["bos"], ids["eos"], ids["pad"]
        self.unk_id: int | None = ids.get("unk")
        self._pieces = _pieces(library, {i: token.content.encode() for i, token in added.items()})
        self.vocab_size = len(self._pieces)
        if self.unk_id is not None:
            self._pieces[self.unk_id] = REPLACEMENT
        self._refuse_reachable_roles()
        self._skipped = frozenset(self.special_ids.values()) - {self.unk_id}
        self.fingerprint = hashlib.sha256(library.to_str().encode()).hexdigest()

    def _refuse_reachable_roles(self) -> None:
        for role in {self.bos_id, self.eos_id, self.pad_id}:
            name = self.library.id_to_token(role)
            if role in self._as_text.encode(name, add_special_tokens=False).ids:
                raise ValueError(
                    f"a special token is {name!r}, which ordinary text makes too: expected one that nothing "
                    "else makes; if it is for padding leave it out, and EOS pads"
                )

    def extended(self, names: Sequence[str]) -> "LibraryTokenizer":
        """The same tokenizer with these special tokens as well; new ones get the ids from `vocab_size` on."""
        library = tokenizers.Tokenizer.from_str(self.library.to_str())
        library.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
        ids = {"bos": self.bos_id, "eos": self.eos_id, "pad": self.pad_id}
        return type(self)(library, **ids, unk=self.unk_id, adds_bos=self.adds_bos)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size}, fingerprint={self.fingerprint[:12]!r})"

    @overload
    def encode(
        self, text: str, *, bos: bool = False, eos: bool = False, allow_special: bool = False
    ) -> list[int]: ...
    @overload
    def encode(
        self, text: list[str], *, bos: bool = False, eos: bool = False, allow_special: bool = False
    ) -> list[list[int]]: ...
    def encode(
        self, text: str | list[str], *, bos: bool = False, eos: bool = False, allow_special: bool = False
    ) -> list[int] | list[list[int]]:
        """Ids of one text, or of each text of a list (in parallel threads).

        Raises:
            ValueError: a text holds a lone surrogate, which is no Unicode character and has no bytes.
        """
        if isinstance(text, str):
            return self.encode([text], bos=bos, eos=eos, allow_special=allow_special)[0]
        library = self.library if allow_special else self._as_text
        try:
            encodings = library.encode_batch_fast(text, add_special_tokens=False)
        except TypeError:
            for item in text:
                refuse_surrogates(item)
            raise
        front, back = [self.bos_id] * bos, [self.eos_id] * eos
        return [[*front, *encoding.ids, *back] for encoding in encodings]

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD, and so does UNK.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        return b"".join(self.piece(i, skip_special=skip_special) for i in ids).decode(errors="replace")

    def piece(self, token: int, *, skip_special: bool = True) -> bytes:
        """The raw bytes one id stands for: possibly part of a character, empty for a skipped special.

        Raises:
            ValueError: the id is outside the vocabulary.
        """
        if not 0 <= token < self.vocab_size:
            raise ValueError(
                f"token id is {token}: expected 0 to {self.vocab_size - 1}, the ids of this tokenizer; "
                "is the model used with the tokenizer it was trained with?"
            )
        return b"" if skip_special and token in self._skipped else self._pieces[token]

    def token_bytes(self) -> np.ndarray:
        """int64 (vocab_size,): raw UTF-8 bytes each id stands for, 0 for specials (UNK among them)."""
        sizes = np.array([len(piece) for piece in self._pieces], dtype=np.int64)
        sizes[list(self.special_ids.values())] = 0
        return sizes

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json` that `load_tokenizer`, `tokenizers` and `transformers` read."""
        Path(path).write_text(self.library.to_str(pretty=True), encoding="utf-8")


def refuse_surrogates(text: str) -> None:
    """Raises ValueError if `text` holds a lone surrogate: half of a UTF-16 pair, not a character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text has a lone surrogate {text[error.start]!r} at character {error.start}, not a Unicode "
            'character: decode the source with errors="replace", or remove it'
        ) from error


def roles(library: tokenizers.Tokenizer) -> dict[str, int]:
    """The special roles a tokenizer saved here carries: {"bos": 0, "eos": 1, …}; empty for others."""
    processor = json.loads(library.to_str())["post_processor"] or {}
    found = processor.get("special_tokens", {}) if processor.get("type") == "TemplateProcessing" else {}
    return {role: found[role]["ids"][0] for role in ("bos", "eos", "pad", "unk") if role in found}


def _template(library: tokenizers.Tokenizer, names: dict[str, str], adds_bos: bool) -> TemplateProcessing:
    """BOS in front of a text, or not; the roles ride along as the template's own table of special tokens."""
    table = [
        {"id": role, "ids": [library.token_to_id(name)], "tokens": [name]} for role, name in names.items()
    ]
    bos = "bos " if adds_bos else ""
    return TemplateProcessing(single=f"{bos}$A", pair=f"{bos}$A {bos}$B", special_tokens=table)


def _name(library: tokenizers.Tokenizer, role: str, token: int | str) -> str:
    name = library.id_to_token(token) if isinstance(token, int) else token
    if name is None or library.token_to_id(name) is None:
        raise ValueError(f"{role} is {token!r}: expected the id or the name of a token in the vocabulary")
    return name


def _pieces(library: tokenizers.Tokenizer, added: dict[int, bytes]) -> list[bytes]:
    vocab = library.get_vocab(with_added_tokens=True)
    size = max(vocab.values()) + 1
    if size > MAX_VOCAB_SIZE:
        raise ValueError(f"the largest token id is {size - 1}: expected less than {MAX_VOCAB_SIZE}")
    kind = type(library.decoder).__name__
    if kind not in ("ByteLevel", "Fuse"):
        raise ValueError(
            f"the tokenizer decodes with {kind}: expected ByteLevel (a byte-level BPE, as in GPT-2, Llama 3 "
            "and Qwen) or a character tokenizer made here; SentencePiece-style tokenizers are not supported"
        )
    table = _byte_of_character() if kind == "ByteLevel" else None
    pieces = [b""] * size
    for name, i in vocab.items():
        pieces[i] = added[i] if i in added else _raw(name, table)
    return pieces


def _raw(name: str, table: dict[str, int] | None) -> bytes:
    if table is None or any(c not in table for c in name):
        return name.encode()
    return bytes(table[c] for c in name)


def _byte_of_character() -> dict[str, int]:
    """GPT-2's byte alphabet: printable bytes stand for themselves, the others for U+0100 onwards."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + n): b for n, b in enumerate(others)}
