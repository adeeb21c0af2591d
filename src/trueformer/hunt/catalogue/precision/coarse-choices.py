"""Logits are the hidden states times the head in float32, and are not rounded after that."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """Against the product in float64; with and without a cap, tied and not, in training mode and not."""
    width, cap = pick.choice([16, 32]), pick.choice([None, 3.0])
    config = DecoderConfig(
        vocab_size=pick.randrange(20, 50), max_len=16, d_model=width, n_layers=1, n_heads=2, n_kv_heads=2,
        tied=pick.random() < 0.5, logit_softcap=cap,
    )  # fmt: skip
    model = DecoderLM(config, backend="plain").train(pick.random() < 0.5)
    for matrix in model.parameters():
        torch.nn.init.normal_(matrix, std=0.5)
    ids = torch.randint(0, config.vocab_size, (2, pick.randrange(3, 12)))
    wanted = model.hidden(ids).double() @ model.head_weight.double().T
    wanted = wanted if cap is None else cap * torch.tanh(wanted / cap)
    torch.testing.assert_close(model(ids).double(), wanted, rtol=1e-5, atol=1e-5)
