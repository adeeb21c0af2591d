"""Dropout drops at its rate in training, keeps the mean, and does nothing in evaluation mode."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.dropout import dropout


def probe(pick: random.Random) -> None:
    """The function alone, and a whole model in both modes."""
    rate = pick.choice([0.1, 0.25, 0.5])
    x = torch.ones(400, pick.randrange(100, 130))
    assert torch.equal(dropout(x, rate, False), x), "drops outside of training"
    assert torch.equal(dropout(x, 0.0, True), x), "drops at rate 0"
    dropped = dropout(x, rate, True)
    assert abs(float((dropped == 0).float().mean()) - rate) < 0.02, "does not drop at its rate"
    assert abs(float(dropped.mean()) - 1) < 0.03, "the mean is not kept"
    config = DecoderConfig(vocab_size=17, max_len=16, d_model=16, n_layers=2, n_heads=2, dropout=rate)
    model, ids = DecoderLM(config, backend="plain").eval(), torch.randint(17, (2, pick.randrange(3, 16)))
    assert torch.equal(model(ids), model(ids)), "two passes in evaluation mode differ"
    model.train()
    assert not torch.equal(model(ids), model(ids)), "two passes in training are equal"
