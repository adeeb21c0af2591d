"""Each greedy token is the likeliest after all the tokens before it."""

import random

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.plain import plain_generate
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


@torch.no_grad()
def probe(pick: random.Random) -> None:
    """A model that always says the token after the last one is followed through several tokens."""
    vocab = pick.randrange(12, 40)
    config = DecoderConfig(
        vocab_size=vocab, max_len=24, d_model=64, n_layers=1, n_heads=2, positions="none", tied=False
    )
    model = DecoderLM(config, backend="plain").eval()
    for matrix in model.blocks.parameters():
        matrix.zero_()
    model.embedding.weight.copy_(torch.eye(vocab, 64))
    assert model.head is not None
    model.head.weight.copy_(torch.eye(vocab, 64).roll(1, 0))
    prompt = [pick.randrange(vocab) for _ in range(pick.randrange(1, 8))]
    count = pick.randrange(4, 9)
    new = plain_generate(model, prompt, SamplingConfig(temperature=0.0), max_new_tokens=count)
    assert new == [(prompt[-1] + i) % vocab for i in range(1, count + 1)]
