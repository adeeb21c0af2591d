"""Validation is the same at each reading, on each of several ranks, and asks for every token but the first once."""

import random

import numpy as np

from trueformer.data.loader import validation_batches
from trueformer.data.token_set import TokenSet


def probe(pick: random.Random) -> None:
    """Reads a text of different numbers three times, alone and as two ranks."""
    length, rows = pick.randrange(2, 8), pick.randrange(1, 4)
    total = length * rows * pick.randrange(6, 12) + pick.randrange(1, length * rows)
    ids = np.arange(1, total + 1, dtype=np.uint16)
    tokens = TokenSet([ids], bos_id=0, n_documents=1, n_bytes=total)
    for size in (1, 2):
        readings = [[_read(tokens, rows, length, rank, size) for rank in range(size)] for _ in range(3)]
        assert readings[0] == readings[1] == readings[2]
        assert len({len(batches) for batches in readings[0]}) == 1
        pairs = [pair for batches in readings[0] for batch in batches for pair in batch]
        assert sorted(pairs) == [(i, i + 1) for i in range(1, total)]


def _read(tokens: TokenSet, rows: int, length: int, rank: int, size: int) -> list[list[tuple[int, int]]]:
    """Each batch as pairs of an input and what is asked of it."""
    read = validation_batches(tokens, batch_size=rows, seq_len=length, rank=rank, world_size=size)
    flat = [(batch.inputs_BT.flatten().tolist(), batch.targets_BT.flatten().tolist()) for batch in read]
    return [[pair for pair in zip(*both, strict=True) if pair[1] >= 0] for both in flat]
