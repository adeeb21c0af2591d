"""A temperature that means nothing is refused, or taken as 0; one that means something is not refused."""

import math
import random

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.plain import plain_probabilities


def probe(pick: random.Random) -> None:
    """Numbers below 0, NaN and infinity; then sound ones."""
    for temperature in (-pick.uniform(0.1, 3.0), -1e-9, math.nan, math.inf):
        try:
            config = SamplingConfig(temperature=temperature)
        except ValueError:
            continue
        logits_V = torch.randn(pick.randrange(5, 20), dtype=torch.float64)
        assert float(plain_probabilities(logits_V, [], config)[logits_V.argmax()]) == 1
        assert not math.isinf(temperature)
    for temperature in (0.0, 0, pick.uniform(0.01, 1.0), 2, 50.0):
        assert SamplingConfig(temperature=temperature).temperature == temperature
