"""After a load, each process draws the random numbers that it would have drawn; one that is new draws its own."""

import random

import numpy as np
import torch

from trueformer.training.distributed import World
from trueformer.training.randomness import capture_rng
from trueformer.training.state import environment, restore_state


def probe(pick: random.Random) -> None:
    """Each of several processes goes on with its own numbers: Python's, NumPy's and torch's."""
    size = pick.randrange(1, 4)
    states, drawn = [], []
    for _ in range(size):
        _seed(pick.randrange(10**6))
        states.append(capture_rng())
        drawn.append(_draw())
    state = {"rng": states, "progress": {"step": 3, "tokens": 5, "skipped": 0, "bad_in_a_row": 0}}
    for rank in range(size + 1):
        world = World(rank=rank, size=size)
        state["environment"] = environment(world)
        seed = pick.randrange(10**6)
        _seed(seed)
        assert restore_state(state, world).step == 3
        found = _draw()
        if rank == size:  # it had no state: its numbers are left alone
            _seed(seed)
            drawn.append(_draw())
        assert found == drawn[rank], rank


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _draw() -> list[float]:
    return [random.random(), float(np.random.rand()), *torch.rand(3).tolist()]
