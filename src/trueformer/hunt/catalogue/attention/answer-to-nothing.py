"""Ids without tokens or without rows are refused, with a cache and without, and the cache stays where it was."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache


def probe(pick: random.Random) -> None:
    """Every empty shape; and a text of one token is still read."""
    config = DecoderConfig(
        vocab_size=pick.randrange(5, 30),
        max_len=12,
        d_model=8,
        n_layers=1,
        n_heads=2,
        positions=pick.choice(["rope", "learned", "sinusoidal"]),
    )
    model, rows = DecoderLM(config, backend="plain").eval(), pick.randrange(1, 4)
    cache = KVCache(config, rows, 12)
    model(torch.zeros(rows, pick.randrange(1, 5), dtype=torch.long), cache=cache)
    length = cache.length
    for shape, past in (((rows, 0), None), ((0, 3), None), ((0, 0), None), ((rows, 0), cache)):
        try:
            model(torch.zeros(shape, dtype=torch.long), cache=past)
        except ValueError:
            continue
        raise AssertionError(f"ids of shape {shape} are taken")
    assert cache.length == length
    assert model(torch.zeros(rows, 1, dtype=torch.long)).shape == (rows, 1, config.vocab_size)
