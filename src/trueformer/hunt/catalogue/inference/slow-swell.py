"""Calls leave no tensors behind, and two texts that are under way at a time do not meet."""

import gc
import random

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import Decoding, generate
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def _bytes() -> int:
    alive = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in alive}.values())


@torch.no_grad()
def probe(pick: random.Random) -> None:
    """Counts bytes before and after calls of one size; then lets two texts grow in turn."""
    config = DecoderConfig(vocab_size=40, max_len=32, d_model=32, n_layers=2, n_heads=2)
    model = DecoderLM(config, backend="plain").eval()
    for matrix in model.parameters():
        if matrix.dim() > 1:
            torch.nn.init.normal_(matrix, std=0.4)
    length, greedy = pick.randrange(3, 8), SamplingConfig(temperature=0.0)
    prompts = torch.randint(40, (2, length)).tolist()
    alone = [generate(model, [prompt], greedy, max_new_tokens=4)[0].ids for prompt in prompts]
    held = []
    for _ in range(2):
        for _ in range(2):
            generate(model, prompts, greedy, max_new_tokens=2)
            generate(model, [prompts[0], prompts[1][1:]], greedy, max_new_tokens=2)
        held.append(_bytes())
    assert held[1] <= held[0], f"{held[1] - held[0]} bytes more"
    both = [Decoding(model, [prompt], greedy, max_new_tokens=4) for prompt in prompts]
    while not all(decoding.done for decoding in both):
        for decoding in both:
            decoding.step()
    assert [decoding.results()[0].ids for decoding in both] == alone
