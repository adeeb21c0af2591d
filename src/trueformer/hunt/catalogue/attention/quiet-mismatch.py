"""Masks and document numbers of any shape but the ids' are refused with a ValueError; those of that shape are taken."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """Columns, rows, swapped axes, one more and one fewer; then the right shape, also for one token."""
    config = DecoderConfig(vocab_size=20, max_len=16, d_model=8, n_layers=1, n_heads=2)
    model = DecoderLM(config, backend="plain").eval()
    rows, length = pick.randrange(2, 5), pick.randrange(5, 9)
    ids = torch.randint(20, (rows, length))
    wrong = [
        (rows, 1),
        (1, length),
        (length, rows),
        (rows, length + 1),
        (rows, length - 1),
        (length,),
        (1, 1),
    ]
    for shape in [*wrong, (rows, length, 1), (rows + 1, length)]:
        for mask in (
            {"key_valid_BS": torch.ones(shape, dtype=torch.bool)},
            {"document_BT": torch.zeros(shape, dtype=torch.long)},
        ):
            try:
                model(ids, **mask)
            except ValueError:
                continue
            raise AssertionError(f"{mask} is taken for ids of shape {tuple(ids.shape)}")
    for fitting in (ids, ids[:, :1]):
        plain = model(fitting)
        torch.testing.assert_close(model(fitting, key_valid_BS=torch.ones_like(fitting).bool()), plain)
        torch.testing.assert_close(model(fitting, document_BT=torch.zeros_like(fitting)), plain)
