"""A row that is padded on the left has the logits that it has alone, in the prompt and after it, with any positions."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache


@torch.no_grad()
def probe(pick: random.Random) -> None:
    """Three rows with paddings of their own, fed as a prompt and then token by token."""
    for positions in ("learned", "sinusoidal", "rope"):
        config = DecoderConfig(
            vocab_size=pick.randrange(20, 50),
            max_len=18,
            d_model=16,
            n_layers=2,
            n_heads=2,
            positions=positions,
        )
        model = DecoderLM(config, backend="plain").eval()
        for matrix in model.parameters():
            if matrix.dim() > 1:
                torch.nn.init.normal_(matrix, std=0.4)
        starts, prompt = [0, pick.randrange(1, 4), pick.randrange(1, 6)], pick.randrange(7, 11)
        ids = torch.randint(config.vocab_size, (3, prompt + 5))
        cache = KVCache(config, 3, prompt + 5, start_B=torch.tensor(starts))
        parts = [ids[:, :prompt], *ids[:, prompt:].split(1, dim=1)]
        got = torch.cat([model(part, cache=cache) for part in parts], 1)
        for row, start in enumerate(starts):
            wanted = model(ids[row : row + 1, start:])[0]
            torch.testing.assert_close(got[row, start:], wanted, atol=1e-3, rtol=1e-3)
