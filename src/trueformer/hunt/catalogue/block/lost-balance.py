"""A post-norm block is norm(x + attention(x)), then norm of that plus feed_forward(that)."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """Each block of a model with random weights, from its own parts; and those of pre-norm models too."""
    for placement in ("post", "pre"):
        config = DecoderConfig(
            vocab_size=17,
            max_len=24,
            d_model=pick.choice([16, 24]),
            n_layers=2,
            n_heads=2,
            positions="sinusoidal",
            norm=pick.choice(["rmsnorm", "layernorm"]),
            norm_placement=placement,
        )
        model = DecoderLM(config, backend="plain").eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.3)
        for block in model.blocks:
            x = torch.randn(2, pick.randrange(3, 20), config.d_model) * pick.uniform(0.3, 4)
            found = block(x, rotation=None, mask=None)
            torch.testing.assert_close(found, _wanted(block, x, placement == "post"), atol=1e-5, rtol=1e-4)


def _wanted(block: torch.nn.Module, x: torch.Tensor, post: bool) -> torch.Tensor:
    if post:
        x = block.attention_norm(x + block.attention(x, rotation=None, mask=None))
        return block.feed_forward_norm(x + block.feed_forward(x))
    x = x + block.attention(block.attention_norm(x), rotation=None, mask=None)
    return x + block.feed_forward(block.feed_forward_norm(x))
