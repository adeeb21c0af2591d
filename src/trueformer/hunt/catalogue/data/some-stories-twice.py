"""An epoch reads every row once, whatever their number."""

import random

import numpy as np

from trueformer.data.loader import TrainLoader
from trueformer.data.token_set import TokenSet


def probe(pick: random.Random) -> None:
    """Reads two epochs of texts of 2 to 90 rows of different numbers."""
    length = pick.randrange(2, 5)
    for rows in range(2, 91):
        ids = np.arange(length * rows, dtype=np.uint16)
        tokens = TokenSet([ids], bos_id=length * rows, n_documents=1, n_bytes=len(ids))
        loader = TrainLoader(tokens, batch_size=rows, seq_len=length, seed=pick.randrange(99))
        for _ in range(2):
            assert sorted(next(loader).inputs_BT.flatten().tolist()) == ids.tolist()
