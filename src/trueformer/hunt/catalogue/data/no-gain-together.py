"""The ranks of a run read, together, each row of an epoch once, and none of them twice."""

import random

import numpy as np

from trueformer.data.loader import TrainLoader
from trueformer.data.token_set import TokenSet


def probe(pick: random.Random) -> None:
    """Reads an epoch of different numbers as two and as three ranks."""
    length, rows, steps = pick.randrange(2, 8), pick.randrange(2, 5), pick.randrange(3, 6)
    seed = pick.randrange(99)
    for size in (2, 3):
        total = length * rows * size * steps
        ids = np.arange(total, dtype=np.uint16)
        tokens = TokenSet([ids], bos_id=total, n_documents=1, n_bytes=total)
        loaders = [
            TrainLoader(tokens, batch_size=rows, seq_len=length, seed=seed, rank=rank, world_size=size)
            for rank in range(size)
        ]
        for _ in range(2):  # epochs
            read = [next(loader).inputs_BT.flatten().tolist() for _ in range(steps) for loader in loaders]
            assert sorted(i for batch in read for i in batch) == list(range(total))
