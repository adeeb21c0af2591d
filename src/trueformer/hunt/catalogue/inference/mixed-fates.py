"""A row draws with its own seed what it draws alone, wherever it stands, and another number for each token."""

import random

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


@torch.no_grad()
def probe(pick: random.Random) -> None:
    """All tokens are equally likely, so that texts show the random numbers."""
    config = DecoderConfig(vocab_size=400, max_len=16, d_model=16, n_layers=1, n_heads=2, positions="none")
    model = DecoderLM(config, backend="plain").eval()
    model.embedding.weight.zero_()
    count, prompt = pick.randrange(3, 6), [pick.randrange(400)]
    seeds = pick.sample(range(10**6), count)

    def texts(wanted: list[int]) -> list[list[int]]:
        rows = [SamplingConfig(seed=seed) for seed in wanted]
        return [row.ids for row in generate(model, [prompt] * len(rows), rows, max_new_tokens=6)]

    together = texts(seeds)
    assert together == [texts([seed])[0] for seed in seeds]
    assert texts(seeds[::-1]) == together[::-1]
    assert len({tuple(row) for row in together}) == count
    assert all(len(set(row)) > 2 for row in together)
