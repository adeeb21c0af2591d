"""A long sequence of token ids, memory-mapped, read by windows: what loaders and evaluation see of a corpus.

Leaves out how the ids came about (`shards.py`) and the order in which they are read (`loader.py`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int


class TokenSet:
    """Documents one behind the other, each with BOS in front, over one or more arrays of ids.

    `n_bytes` counts the raw UTF-8 bytes of the documents; `fingerprint` changes whenever the tokens do.

    Raises:
        ValueError: there is no array to read.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        *,
        bos_id: int,
        n_documents: int,
        n_bytes: int,
        fingerprint: str = "",
    ) -> None:
        if not arrays:
            raise ValueError("a token set needs at least one array of ids, got none")
        self.bos_id, self.n_documents, self.n_bytes = bos_id, n_documents, n_bytes
        self.fingerprint = fingerprint
        self._arrays = list(arrays)
        self._ends = np.cumsum([len(a) for a in arrays])
        self.n_tokens = int(self._ends[-1])

    def __repr__(self) -> str:
        return f"TokenSet({self.n_tokens:,} tokens, {self.n_documents:,} documents, {self.n_bytes:,} bytes)"

    def window(self, start: int, length: int) -> Int[np.ndarray, " length"]:
        """int64 ids `start` to `start + length`, reading on from the first token when the last is passed."""
        out = np.empty(length, dtype=np.int64)
        filled, position = 0, start % self.n_tokens
        while filled < length:
            shard = int(np.searchsorted(self._ends, position, side="right"))
            array = self._arrays[shard]
            begin = position - int(self._ends[shard]) + len(array)
            piece = array[begin : begin + length - filled]
            out[filled : filled + len(piece)] = piece
            filled += len(piece)
            position = (position + len(piece)) % self.n_tokens
        return out


def map_tokens(file: Path, dtype: str) -> np.ndarray:
    """The ids of one shard, memory-mapped read-only; an empty file, which cannot be, is an empty array."""
    if file.stat().st_size == 0:
        return np.empty(0, dtype=dtype)
    return np.memmap(file, dtype=dtype, mode="r")
