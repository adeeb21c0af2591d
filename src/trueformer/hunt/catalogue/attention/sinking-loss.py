"""A sink adds exp(sink) to its head's denominator; every key keeps its own weight."""

import random

import torch

from trueformer.nn.attend import attend


def probe(pick: random.Random) -> None:
    """The sum over keys, written out for every head and query, with drawn sinks; and without any."""
    rows, length, width = pick.randrange(1, 3), pick.randrange(2, 9), pick.choice([4, 6])
    key_heads = pick.choice([1, 2])
    heads = key_heads * pick.choice([1, 2])
    q = torch.randn(rows, length, heads, width)
    k, v = torch.randn(rows, length, key_heads, width), torch.randn(rows, length, key_heads, width)
    sinks = torch.randn(heads) * 2
    for given in (sinks, None):
        found = attend(q, k, v, None, scale=0.4, sinks_N=given, backend="plain")
        for n in range(heads):
            shared = n // (heads // key_heads)
            for t in range(length):
                powers = (k[:, : t + 1, shared] @ q[:, t, n, :, None] * 0.4).exp()
                below = powers.sum(1) + (0.0 if given is None else given[n].exp())
                wanted = (powers * v[:, : t + 1, shared]).sum(1) / below
                torch.testing.assert_close(found[:, t, n], wanted, rtol=1e-4, atol=1e-5)
