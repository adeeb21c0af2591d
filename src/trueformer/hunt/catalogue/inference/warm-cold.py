"""At temperature T a token is drawn in proportion to the T-th root of its probability."""

import random

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.plain import plain_probabilities


def probe(pick: random.Random) -> None:
    """Compares with roots of known probabilities, for temperatures on both sides of 1."""
    shares_V = torch.rand(pick.randrange(3, 40), dtype=torch.float64) + 0.05
    shares_V /= shares_V.sum()
    for temperature in (pick.uniform(0.2, 0.7), 1.0, pick.uniform(1.5, 4.0)):
        got_V = plain_probabilities(shares_V.log(), [], SamplingConfig(temperature=temperature))
        roots_V = shares_V ** (1 / temperature)
        torch.testing.assert_close(got_V, roots_V / roots_V.sum())
