"""A query sees no later key and none further back than its window, for windows narrower and wider than the row."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.masks import attention_mask


def probe(pick: random.Random) -> None:
    """The mask, place by place, with documents and without; then the first logits when the last word changes."""
    length = pick.randrange(6, 14)
    for window in (pick.randrange(1, length), length, pick.randrange(length + 1, 4 * length)):
        numbers = torch.randint(0, 2, (2, length))
        for documents in (None, numbers):
            allowed = attention_mask(torch.arange(length), length, window=window, document_BT=documents)
            for t in range(length):
                keys = range(max(0, t - window + 1), t + 1)
                wanted = [s for s in keys if documents is None or bool(documents[0, s] == documents[0, t])]
                assert allowed[0, t].nonzero()[:, 0].tolist() == wanted, f"window {window}, query {t}"
    config = DecoderConfig(
        vocab_size=20, max_len=32, d_model=16, n_layers=2, n_heads=2, window=pick.randrange(2, length)
    )
    model = DecoderLM(config, backend="plain").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    ids = torch.randint(20, (1, length))
    other = torch.cat([ids[:, :-1], (ids[:, -1:] + 1) % 20], 1)
    with torch.no_grad():
        torch.testing.assert_close(model(ids)[:, :-1], model(other)[:, :-1], rtol=0, atol=1e-6)
