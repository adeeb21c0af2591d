"""Targets of training are what stands one place later in the text, at the end of a row too."""

import random

import numpy as np

from trueformer.data.loader import TrainLoader
from trueformer.data.token_set import TokenSet


def probe(pick: random.Random) -> None:
    """Reads a text of numbers that tell their place, over an epoch and more."""
    length, rows = pick.randrange(3, 20), pick.randrange(1, 5)
    total = length * rows * pick.randrange(2, 6) + pick.randrange(length)
    places = np.random.default_rng(pick.randrange(99)).permutation(total)
    cut = pick.randrange(1, total)
    arrays = [part.astype(np.uint16) for part in (places[:cut], places[cut:])]
    tokens = TokenSet(arrays, bos_id=total, n_documents=1, n_bytes=total)
    place_of = np.argsort(places)
    loader = TrainLoader(tokens, batch_size=rows, seq_len=length, seed=pick.randrange(99))
    for _ in range(2 * (total // length) // rows + 1):
        batch = next(loader)
        for inputs, targets in zip(batch.inputs_BT.numpy(), batch.targets_BT.numpy(), strict=True):
            at = place_of[inputs[0]] + np.arange(length)
            assert (inputs == places[at % total]).all()
            assert (targets == places[(at + 1) % total]).all()
