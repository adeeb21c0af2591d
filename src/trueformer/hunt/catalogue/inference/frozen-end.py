"""At the end of its context a text ends, or goes on from the latest tokens."""

import random

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.plain import plain_generate
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


@torch.no_grad()
def probe(pick: random.Random) -> None:
    """A model that counts upwards must not lose count, however far it is asked to go."""
    vocab, longest = pick.randrange(30, 60), pick.randrange(6, 12)
    config = DecoderConfig(
        vocab_size=vocab, max_len=longest, d_model=64, n_layers=1, n_heads=2, positions="none", tied=False
    )
    model = DecoderLM(config, backend="plain").eval()
    for matrix in model.blocks.parameters():
        matrix.zero_()
    model.embedding.weight.copy_(torch.eye(vocab, 64))
    assert model.head is not None
    model.head.weight.copy_(torch.eye(vocab, 64).roll(1, 0))
    prompt, greedy = list(range(pick.randrange(1, longest))), SamplingConfig(temperature=0.0)
    new = plain_generate(model, prompt, greedy, max_new_tokens=longest + 5)
    assert new == list(range(len(prompt), len(prompt) + len(new)))
    assert len(new) in (longest - len(prompt), longest + 5)
    few = plain_generate(model, prompt[:1], greedy, max_new_tokens=longest - 2)
    assert few == list(range(1, longest - 1))
