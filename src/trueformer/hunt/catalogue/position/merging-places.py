"""Cosines and sines are right at every place of a long row, also once the model is in bfloat16."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """After `.to(torch.bfloat16)`, against angles in float64; cosines themselves may be rounded."""
    width = 2 * pick.randrange(2, 9)
    base = pick.choice([500.0, 10_000.0])
    config = DecoderConfig(
        vocab_size=11,
        max_len=pick.randrange(400, 700),
        d_model=2 * width,
        n_layers=1,
        n_heads=2,
        rope_base=base,
    )
    for dtype in (torch.bfloat16, torch.float32):
        rotary = DecoderLM(config, backend="plain").to(dtype).rotary
        cos, sin = rotary(torch.arange(config.max_len)[None])
        rates = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angle = torch.arange(config.max_len, dtype=torch.float64)[:, None] * rates
        for found, wanted in ((cos[0], angle.cos()), (sin[0], angle.sin())):
            torch.testing.assert_close(found.double(), wanted, atol=0.01, rtol=0)
