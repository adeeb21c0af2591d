"""A layer's output is the sum over its heads, each mixed and projected by its own part of the matrices."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.nn.attention import Attention


def probe(pick: random.Random) -> None:
    """Every head alone, written out, through its own columns of the output projection."""
    heads, head = pick.choice([2, 3, 4]), pick.choice([4, 6])
    config = DecoderConfig(
        vocab_size=20,
        max_len=16,
        d_model=heads * head,
        n_layers=1,
        n_heads=heads,
        n_kv_heads=heads,
        positions="learned",
        qk_norm=False,
    )
    layer = Attention(config, 0, backend="plain").eval()
    x = torch.randn(2, pick.randrange(2, 10), heads * head)
    future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    wanted = torch.zeros_like(x)
    with torch.no_grad():
        for n in range(heads):
            part = slice(n * head, (n + 1) * head)
            q, k, v = (x @ matrix.weight[part].T for matrix in (layer.q, layer.k, layer.v))
            scores = (q @ k.mT / head**0.5).masked_fill(future, float("-inf"))
            wanted += scores.softmax(-1) @ v @ layer.out.weight[:, part].T
        torch.testing.assert_close(layer(x, rotation=None, mask=None), wanted, rtol=1e-4, atol=1e-5)
