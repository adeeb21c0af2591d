"""The nucleus is the smallest set of likeliest tokens whose mass reaches p: one fewer does not reach it."""

import random

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.plain import plain_probabilities
from trueformer.inference.sampling import Sampler


def probe(pick: random.Random) -> None:
    """Both samplers on random distributions, for several p in one batch."""
    vocab = pick.randrange(6, 40)
    shares = [pick.uniform(0.05, 0.3), pick.uniform(0.4, 0.7), pick.uniform(0.8, 0.97), 1e-6]
    configs = [SamplingConfig(top_p=p) for p in shares]
    logits_BV = torch.randn(len(shares), vocab, dtype=torch.float64) * 1.5
    seen_BV = torch.zeros(len(shares), vocab, dtype=torch.bool)
    kept_BV = Sampler(configs).filter(logits_BV.clone(), seen_BV).isfinite()
    for row_V, kept_V, config in zip(logits_BV, kept_BV, configs, strict=True):
        chances = (row_V.exp() / row_V.exp().sum()).tolist()
        order = sorted(range(vocab), key=chances.__getitem__, reverse=True)
        size = next(n for n in range(1, vocab + 1) if sum(chances[i] for i in order[:n]) >= config.top_p)
        wanted = sorted(order[:size])
        assert kept_V.nonzero()[:, 0].tolist() == wanted
        assert plain_probabilities(row_V, [], config).nonzero()[:, 0].tolist() == wanted
