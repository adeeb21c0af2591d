"""With a window of W a token sees itself and the W - 1 tokens before it, in whole texts and behind a cache."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache
from trueformer.nn.masks import attention_mask


def probe(pick: random.Random) -> None:
    """Counts what each query may see; then measures how far one layer reaches."""
    length, window = pick.randrange(8, 16), pick.randrange(2, 8)
    allowed = attention_mask(torch.arange(length), length, window=window)[0]
    for t in range(length):
        wanted = list(range(max(0, t - window + 1), t + 1))
        assert allowed[t].nonzero()[:, 0].tolist() == wanted, f"window {window}, query {t}"
    config = DecoderConfig(vocab_size=20, max_len=16, d_model=16, n_layers=1, n_heads=2, window=window)
    model = DecoderLM(config, backend="plain").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    ids = torch.randint(20, (1, length))
    other = torch.cat([(ids[:, :1] + 1) % 20, ids[:, 1:]], 1)
    with torch.no_grad():
        moved = (model(ids) - model(other)).abs().amax((0, 2)) > 0
        assert moved.nonzero()[:, 0].tolist() == list(range(min(window, length)))
        cache = KVCache(config, 1, length)
        steps = torch.cat([model(token, cache=cache) for token in ids.split(1, dim=1)], 1)
        torch.testing.assert_close(steps, model(ids), rtol=1e-4, atol=1e-4)
