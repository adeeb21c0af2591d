"""Which documents are held out: each document's own hash decides, so equal ones are never on both sides.

A document keeps its side when others are added or reordered. Where the shares leave one side empty, as they
may with a handful of documents, the document nearest to the border changes sides.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

Documents = Callable[[], Iterator[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Two disjoint streams of documents, each readable any number of times."""

    train: Documents
    validation: Documents


def hash_document(text: str) -> int:
    """64 bits of BLAKE2b of the text: evenly spread, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def split_by_hash(documents: Documents, val_fraction: float) -> Split:
    """Hold out the documents whose hash is among the lowest `val_fraction` of all possible ones.

    Raises:
        ValueError: fewer than two different documents.
    """
    border = _border(_hashes(documents()), val_fraction)
    return Split(
        train=lambda: (text for text in documents() if hash_document(text) > border),
        validation=lambda: (text for text in documents() if hash_document(text) <= border),
    )


def split_by_source(train: Documents, validation: Documents) -> Split:
    """All of `validation` is held out; a document of `train` that is also there is left out of training.

    Raises:
        ValueError: a side has no document of its own.
    """
    held_out = frozenset(_hashes(validation()).tolist())
    split = Split(
        train=lambda: (text for text in train() if hash_document(text) not in held_out),
        validation=validation,
    )
    if not held_out or next(split.train(), None) is None:
        side = "training" if held_out else "validation"
        raise ValueError(f"the {side} source has no document of its own: expected at least one")
    return split


def _hashes(documents: Iterable[str]) -> np.ndarray:
    return np.unique(np.fromiter((hash_document(text) for text in documents), dtype=np.uint64))


def _border(hashes: np.ndarray, val_fraction: float) -> int:
    """The highest hash that is held out."""
    if len(hashes) < 2:
        raise ValueError(
            f"the source has {len(hashes)} different documents: expected at least 2, one to train on and one "
            "to hold out; give more text, or a validation source of its own"
        )
    border = int(val_fraction * 2**64)
    return min(max(border, int(hashes[0])), int(hashes[-1]) - 1)
