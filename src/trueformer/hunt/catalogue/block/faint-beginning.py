"""A pre-norm block is x + attention(norm(x)), then that plus feed_forward(norm(that))."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """Each block of a model with random weights, from its own parts."""
    config = DecoderConfig(
        vocab_size=17,
        max_len=24,
        d_model=pick.choice([16, 24]),
        n_layers=2,
        n_heads=2,
        positions="learned",
        norm=pick.choice(["rmsnorm", "layernorm"]),
        feed_forward=pick.choice(["swiglu", "gelu"]),
    )
    model = DecoderLM(config, backend="plain").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.3)
    for block in model.blocks:
        x_BTD = torch.randn(2, pick.randrange(3, 20), config.d_model) * pick.uniform(0.3, 4)
        middle = x_BTD + block.attention(block.attention_norm(x_BTD), rotation=None, mask=None)
        wanted = middle + block.feed_forward(block.feed_forward_norm(middle))
        torch.testing.assert_close(block(x_BTD, rotation=None, mask=None), wanted, atol=1e-5, rtol=1e-4)
