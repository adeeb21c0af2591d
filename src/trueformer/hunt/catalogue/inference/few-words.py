"""With min_p, a row keeps the tokens at least that many times as likely as its likeliest."""

import random

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.sampling import Sampler


def probe(pick: random.Random) -> None:
    """Sure rows and unsure ones, each with its own share, at temperature 1 and another."""
    vocab, temperature = pick.randrange(10, 40), pick.choice([1.0, 0.7, 1.6])
    shares = [pick.uniform(0.05, 0.3), pick.uniform(0.5, 0.9), 0.0, 1.0]
    logits_BV = torch.randn(len(shares), vocab, dtype=torch.float64)
    logits_BV *= torch.tensor([0.5, 0.3, 1.0, 2.0], dtype=torch.float64)[:, None]
    seen_BV = torch.zeros(len(shares), vocab, dtype=torch.bool)
    sampler = Sampler([SamplingConfig(min_p=p, temperature=temperature) for p in shares])
    kept_BV = sampler.filter(logits_BV.clone(), seen_BV).isfinite()
    for row_V, kept_V, p in zip(logits_BV / temperature, kept_BV, shares, strict=True):
        chance_V = row_V.exp() / row_V.exp().sum()
        assert kept_V.tolist() == [float(c) >= p * float(chance_V.max()) * (1 - 1e-12) for c in chance_V]
