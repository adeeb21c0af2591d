"""Query head n reads key and value head n // (N / K)."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.nn.attend import attend
from trueformer.nn.attention import Attention


def probe(pick: random.Random) -> None:
    """Every query head by itself, on the head of its group; then a whole layer."""
    key_heads, group, width = pick.choice([2, 3, 4]), pick.choice([2, 3]), pick.choice([4, 6])
    heads, length = key_heads * group, pick.randrange(2, 9)
    q = torch.randn(2, length, heads, width)
    k, v = torch.randn(2, length, key_heads, width), torch.randn(2, length, key_heads, width)
    found = attend(q, k, v, None, scale=0.5, backend="plain")
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    for n in range(heads):
        scores = (q[:, :, n] @ k[:, :, n // group].mT * 0.5).masked_fill(future, float("-inf"))
        torch.testing.assert_close(found[:, :, n], scores.softmax(-1) @ v[:, :, n // group])
    config = DecoderConfig(
        vocab_size=9,
        max_len=16,
        d_model=16,
        n_layers=1,
        n_heads=heads,
        n_kv_heads=key_heads,
        head_dim=width,
        positions="learned",
        qk_norm=False,
    )
    layer, x = Attention(config, 0, backend="plain").eval(), torch.randn(2, length, 16)
    wanted = torch.zeros_like(x)
    with torch.no_grad():
        for n in range(heads):
            mine, shared = (slice(i * width, (i + 1) * width) for i in (n, n // group))
            scores = (x @ layer.q.weight[mine].T) @ (x @ layer.k.weight[shared].T).mT / width**0.5
            weights = scores.masked_fill(future, float("-inf")).softmax(-1)
            wanted += weights @ (x @ layer.v.weight[shared].T) @ layer.out.weight[:, mine].T
        torch.testing.assert_close(layer(x, rotation=None, mask=None), wanted, rtol=1e-4, atol=1e-5)
