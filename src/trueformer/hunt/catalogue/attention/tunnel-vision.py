"""The model's own scores, recomputed from what its layers are given."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """One layer with one head equals softmax(q·k / √d) v, written out."""
    width = pick.choice([8, 12, 20])
    config = DecoderConfig(
        vocab_size=pick.randrange(11, 40),
        max_len=16,
        d_model=width,
        n_layers=1,
        n_heads=1,
        n_kv_heads=1,
        positions="learned",
        qk_norm=False,
    )
    attention = DecoderLM(config, backend="plain").eval().blocks[0].attention
    for matrix in attention.parameters():
        torch.nn.init.normal_(matrix, std=0.3)
    x_BTD = torch.randn(2, pick.randrange(3, 12), width)
    q, k, v = attention.q(x_BTD), attention.k(x_BTD), attention.v(x_BTD)
    scores = (q @ k.mT) / width**0.5
    future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
    wanted = attention.out(scores.masked_fill(future, float("-inf")).softmax(-1) @ v)
    torch.testing.assert_close(attention(x_BTD, rotation=None, mask=None), wanted)
