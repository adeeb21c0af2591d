"""A loader that is saved and loaded gives the rows that would have come, whatever their place in the epoch."""

import random

import numpy as np
import torch

from trueformer.data.loader import TrainLoader
from trueformer.data.token_set import TokenSet


def probe(pick: random.Random) -> None:
    """After any number of batches, over the ends of epochs too, a fresh loader goes on as the old one does."""
    length, batch = pick.randrange(5, 9), pick.choice([2, 3])
    ids = np.array(
        [pick.randrange(1, 500) for _ in range(length * pick.randrange(7, 12) + 3)], dtype=np.uint16
    )
    tokens = TokenSet([ids], bos_id=0, n_documents=1, n_bytes=len(ids))
    sizes = {"batch_size": batch, "seq_len": length, "rank": pick.randrange(2), "world_size": 2}
    going = TrainLoader(tokens, **sizes, seed=pick.randrange(999))
    for _ in range(12):
        fresh = TrainLoader(tokens, **sizes, seed=0)
        fresh.load_state_dict(going.state_dict())
        wanted, found = next(going), next(fresh)
        assert torch.equal(wanted.inputs_BT, found.inputs_BT)
        assert torch.equal(wanted.targets_BT, found.targets_BT)
