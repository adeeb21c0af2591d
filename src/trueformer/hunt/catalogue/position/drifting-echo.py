"""With rotary positions, one token repeated gets the same hidden state at every place."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """Attention over equal values is that value, so that no layer can tell the places apart."""
    config = DecoderConfig(
        vocab_size=pick.randrange(11, 40),
        max_len=32,
        d_model=pick.choice([16, 24, 32]),
        n_layers=pick.choice([1, 2]),
        n_heads=2,
        n_kv_heads=pick.choice([1, 2]),
        rope_layout=pick.choice(["half", "interleaved"]),
    )
    model = DecoderLM(config, backend="plain").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.2)
    ids = torch.full((2, pick.randrange(5, 32)), pick.randrange(config.vocab_size))
    hidden_BTD = model.hidden(ids)
    torch.testing.assert_close(hidden_BTD, hidden_BTD[:, :1].expand_as(hidden_BTD), atol=1e-4, rtol=1e-4)
