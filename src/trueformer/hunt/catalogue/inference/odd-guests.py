"""With top_k, what a row is drawn from are its k likeliest tokens, in their proportions; rows differ in k."""

import random

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.sampling import Sampler


def probe(pick: random.Random) -> None:
    """Each row's k from a sorted list of its own."""
    vocab = pick.randrange(8, 30)
    counts = [1, pick.randrange(2, 6), None, vocab + 5]
    logits_BV = torch.randn(len(counts), vocab)
    seen_BV = torch.zeros(len(counts), vocab, dtype=torch.bool)
    sampler = Sampler([SamplingConfig(top_k=k) for k in counts])
    got_BV = sampler.filter(logits_BV.clone(), seen_BV).double().softmax(-1)
    for row_V, share_V, k in zip(logits_BV.double(), got_BV, counts, strict=True):
        likeliest = row_V.argsort(descending=True)[:k]
        wanted_V = torch.zeros(vocab, dtype=torch.float64)
        wanted_V[likeliest] = row_V[likeliest].exp()
        torch.testing.assert_close(share_V, wanted_V / wanted_V.sum(), atol=1e-6, rtol=1e-5)
