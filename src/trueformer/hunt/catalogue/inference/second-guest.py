"""After a reset a cache serves another batch, padded or not, as a new one does."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache


@torch.no_grad()
def probe(pick: random.Random) -> None:
    """Three texts in turn, the second padded on the left; the third longer than what the others leave free."""
    config = DecoderConfig(
        vocab_size=pick.randrange(20, 50), max_len=24, d_model=16, n_layers=2, n_heads=2, n_kv_heads=1
    )
    model = DecoderLM(config, backend="plain").eval()
    for matrix in model.parameters():
        if matrix.dim() > 1:
            torch.nn.init.normal_(matrix, std=0.4)
    first, padding = pick.randrange(3, 8), pick.randrange(1, 3)
    cache = KVCache(config, 2, 16)
    lengths = (first, pick.randrange(5, 9), pick.randrange(12, 17))
    for length, start in zip(lengths, (0, padding, 0), strict=True):
        ids = torch.randint(config.vocab_size, (2, length))
        cache.reset(torch.tensor([0, start]) if start else None)
        parts = [part for part in (ids[:, :4], ids[:, 4:]) if part.shape[1]]
        got = torch.cat([model(part, cache=cache) for part in parts], 1)
        torch.testing.assert_close(got[0], model(ids)[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(got[1, start:], model(ids[1:, start:])[0], atol=1e-4, rtol=1e-4)
