"""Frequencies are base^(-2r/d), and those of every scaling follow from them."""

import math
import random

import torch

from trueformer.models.config import RopeScaling
from trueformer.nn.rotary import rotary_frequencies


def probe(pick: random.Random) -> None:
    """Plain, linear and ntk by their formulas in Python's own floats."""
    width, base = 2 * pick.randrange(2, 40), pick.choice([500.0, 10_000.0, 500_000.0])
    factor = pick.uniform(1.5, 8.0)
    stretched = base * factor ** (width / (width - 2))
    _same(rotary_frequencies(width, base)[0], [base ** (-r / width) for r in range(0, width, 2)])
    for kind, wanted in (
        ("linear", [base ** (-r / width) / factor for r in range(0, width, 2)]),
        ("ntk", [math.exp(-math.log(stretched) * r / width) for r in range(0, width, 2)]),
    ):
        scaling = RopeScaling(kind=kind, factor=factor, original_max_len=64)
        _same(rotary_frequencies(width, base, scaling)[0], wanted)


def _same(found: torch.Tensor, wanted: list[float]) -> None:
    torch.testing.assert_close(found.double(), torch.tensor(wanted, dtype=torch.float64), rtol=1e-6, atol=0)
