"""A stop id ends the text and is left out; without one, as many tokens come as were asked for."""

import random

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.inference.plain import plain_generate
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


@torch.no_grad()
def probe(pick: random.Random) -> None:
    """A model that counts upwards is stopped at a number ahead."""
    vocab, width = pick.randrange(20, 40), 64
    config = DecoderConfig(
        vocab_size=vocab, max_len=24, d_model=width, n_layers=1, n_heads=2, positions="none", tied=False
    )
    model = DecoderLM(config, backend="plain").eval()
    for matrix in model.blocks.parameters():
        matrix.zero_()
    model.embedding.weight.copy_(torch.eye(vocab, width))
    assert model.head is not None
    model.head.weight.copy_(torch.eye(vocab, width).roll(1, 0))
    greedy, start = SamplingConfig(temperature=0.0), pick.randrange(5)
    for ahead in (1, pick.randrange(2, 8)):
        for stops in ({start + ahead}, {start + ahead, vocab - 1}):
            wanted = list(range(start + 1, start + ahead))
            asked = {"max_new_tokens": 10, "stop_ids": stops}
            assert plain_generate(model, [start], greedy, **asked) == wanted
            assert generate(model, [[start]], greedy, **asked)[0].ids == wanted
        asked = {"max_new_tokens": ahead, "stop_ids": {vocab - 1}}
        assert plain_generate(model, [start], greedy, **asked) == list(range(start + 1, start + ahead + 1))
