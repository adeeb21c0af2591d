"""With a window, a cached text has the logits of one pass, whatever its length is against the window's."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache


@torch.no_grad()
def probe(pick: random.Random) -> None:
    """One layer sees a window of keys: changes before it must not show; then two layers against one pass."""
    window = pick.randrange(2, 8)
    for layers in (1, 2):
        config = DecoderConfig(
            vocab_size=40, max_len=24, d_model=16, n_layers=layers, n_heads=2, window=window
        )
        model = DecoderLM(config, backend="plain").eval()
        for matrix in model.parameters():
            if matrix.dim() > 1:
                torch.nn.init.normal_(matrix, std=0.4)
        ids, prompt = torch.randint(40, (2, 20)), pick.randrange(1, 6)
        other = ids.clone()
        other[:, : 20 - window] = torch.randint(40, (2, 20 - window))
        ends = []
        for text in (ids, other):
            cache = KVCache(config, 2, 20)
            parts = [text[:, :prompt], *text[:, prompt:].split(1, dim=1)]
            got = torch.cat([model(part, cache=cache) for part in parts], 1)
            torch.testing.assert_close(got, model(text), atol=1e-3, rtol=1e-3)
            ends.append(got[:, -1])
        if layers == 1:
            torch.testing.assert_close(ends[0], ends[1], atol=1e-3, rtol=1e-3)
