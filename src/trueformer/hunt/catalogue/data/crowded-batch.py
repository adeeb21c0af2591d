"""Text for fewer rows than a batch of all ranks is refused; text for just as many is not."""

import itertools
import random

import numpy as np

from trueformer.data.loader import TrainLoader
from trueformer.data.token_set import TokenSet


def probe(pick: random.Random) -> None:
    """Offers texts around the least that is enough."""
    length, rows, several = pick.randrange(2, 12), pick.randrange(2, 6), pick.choice([2, 3])
    near = (length, 0, -1, -length)
    for size, more in itertools.product((1, several), near):
        least = length * rows * size
        total = least + more
        ids = np.arange(total, dtype=np.uint16)
        tokens = TokenSet([ids], bos_id=total, n_documents=1, n_bytes=total)
        try:
            loader = TrainLoader(
                tokens, batch_size=rows, seq_len=length, seed=1, rank=size - 1, world_size=size
            )
        except ValueError:
            assert total < least
            continue
        assert total >= least
        assert len(next(loader).inputs_BT.unique()) == rows * length
