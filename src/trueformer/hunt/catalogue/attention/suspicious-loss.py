"""Without a mask a query sees itself and what came before it, and nothing later."""

import random

import torch

from trueformer.nn.attend import attend


def probe(pick: random.Random) -> None:
    """Equal scores make the mean of all values up to the query's own, whole or behind a cache."""
    rows, length, heads, width = pick.randrange(1, 3), pick.randrange(3, 12), pick.choice([1, 2, 4]), 4
    q, k = torch.zeros(rows, length, heads, width), torch.randn(rows, length, heads, width)
    v = torch.randn(rows, length, heads, width)
    out = attend(q, k, v, None, scale=0.5, backend="plain")
    for t in range(length):
        torch.testing.assert_close(out[:, t], v[:, : t + 1].mean(1))
    last = attend(q[:, -1:], k, v, None, scale=0.5, backend="plain")
    torch.testing.assert_close(last[:, 0], v.mean(1))
