"""Logits through the cache, however the text is cut and padded, are those of one pass."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache


@torch.no_grad()
def probe(pick: random.Random) -> None:
    """Parts of one, two and more tokens, with positions of three kinds, with a window and padding or without."""
    config = DecoderConfig(
        vocab_size=pick.randrange(20, 50),
        max_len=20,
        d_model=16,
        n_layers=2,
        n_heads=2,
        n_kv_heads=1,
        positions=pick.choice(["rope", "learned", "sinusoidal"]),
        window=pick.choice([None, 3, 7]),
    )
    model = DecoderLM(config, backend="plain").eval()
    for matrix in model.parameters():
        if matrix.dim() > 1:
            torch.nn.init.normal_(matrix, std=0.4)
    length, start = pick.randrange(12, 21), pick.randrange(3)
    ids = torch.randint(config.vocab_size, (2, length))
    cache = KVCache(config, 2, length, start_B=torch.tensor([0, start]) if start else None)
    parts, left = [], length
    while left:
        parts.append(min(left, pick.choice([1, 1, 2, 4])))
        left -= parts[-1]
    got = torch.cat([model(part, cache=cache) for part in ids.split(parts, dim=1)], 1)
    torch.testing.assert_close(got[0], model(ids)[0], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(got[1, start:], model(ids[1:, start:])[0], atol=1e-3, rtol=1e-3)
