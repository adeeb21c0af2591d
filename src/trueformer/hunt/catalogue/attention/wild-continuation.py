"""Each query's weights sum to one, however many queries there are: values that are all alike come out unchanged."""

import random

import torch

from trueformer.nn.attend import attend


def probe(pick: random.Random) -> None:
    """Equal values stay as they are; the last query alone gets what it got among others."""
    rows, length, width = pick.randrange(1, 4), pick.randrange(3, 14), pick.choice([4, 6, 10])
    key_heads = pick.choice([1, 2, 3])
    heads = key_heads * pick.choice([1, 2])
    q, k = torch.randn(rows, length, heads, width), torch.randn(rows, length, key_heads, width)
    same = torch.randn(rows, 1, key_heads, width).expand(-1, length, -1, -1)
    out = attend(q, k, same, None, scale=width**-0.5, backend="plain")
    wanted = same.repeat_interleave(heads // key_heads, dim=2)
    torch.testing.assert_close(out, wanted)
    v = torch.randn(rows, length, key_heads, width)
    whole = attend(q, k, v, None, scale=width**-0.5, backend="plain")
    last = attend(q[:, -1:], k, v, None, scale=width**-0.5, backend="plain")
    torch.testing.assert_close(whole[:, -1:], last)
    scores = torch.stack([q[0, -1, 0] @ k[0, s, 0] for s in range(length)]) * width**-0.5
    weights = scores.exp() / scores.exp().sum()
    torch.testing.assert_close(last[0, 0, 0], sum(w * v[0, s, 0] for s, w in enumerate(weights)))
