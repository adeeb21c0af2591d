"""Ids that no row of the embedding belongs to are refused; all others give their row."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """One stray id anywhere, too large or negative, and both ends of the vocabulary, which are none."""
    words, length = pick.randrange(5, 60), pick.randrange(2, 9)
    config = DecoderConfig(vocab_size=words, max_len=12, d_model=16, n_layers=1, n_heads=2)
    model = DecoderLM(config, backend="plain").eval()
    ids = torch.randint(words, (2, length))
    ids[0, 0], ids[1, 1] = 0, words - 1
    torch.testing.assert_close(model.embed(ids, torch.arange(length)[None]), model.embedding.weight[ids])
    assert model(ids).isfinite().all()
    for stray in (words, words + pick.randrange(1, 1000), -1, -pick.randrange(2, 200)):
        wrong = ids.clone()
        wrong[pick.randrange(2), pick.randrange(length)] = stray
        for dtype in (torch.int64, torch.int32):
            try:
                model(wrong.to(dtype))
            except ValueError:
                continue
            raise AssertionError(f"id {stray} of {words} was let in")
