"""What the rest of the project asks of a tokenizer, and the names of the special tokens made here.

Leaves out training and files: `bpe.py`, `characters.py` and `load.py` have those. `LibraryTokenizer` in
`library.py` is the one implementation; anything with these members can take its place.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, overload, runtime_checkable

import numpy as np

BOS, EOS, PAD, UNK = "<|bos|>", "<|eos|>", "<|pad|>", "<|unk|>"


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back."""

    vocab_size: int  # ids are 0 … vocab_size - 1
    bos_id: int
    eos_id: int
    pad_id: int
    unk_id: int | None
    special_ids: dict[str, int]
    fingerprint: str  # SHA-256 of the serialised tokenizer, special roles included

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
        """Ids of one text or of each text of a list; `allow_special` reads "<|eos|>" as the special token."""
        ...

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        ...

    def piece(self, token: int, *, skip_special: bool = True) -> bytes:
        """The raw bytes one id stands for: possibly part of a character, empty for a skipped special."""
        ...

    def token_bytes(self) -> np.ndarray:
        """int64 (vocab_size,): raw UTF-8 bytes each id stands for, 0 for specials."""
        ...

    def extended(self, names: Sequence[str]) -> "Tokenizer":
        """The same with these special tokens as well; new ones get the ids from `vocab_size` on."""
        ...

    def save(self, path: Path) -> None:
        """Write `path` (a tokenizer.json)."""
        ...
