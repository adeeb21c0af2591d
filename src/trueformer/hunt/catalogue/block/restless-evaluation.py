"""Attention drops weights in training, at the rate that the configuration asks for, and none in evaluation."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.nn.attention import Attention


def probe(pick: random.Random) -> None:
    """In evaluation a layer with dropout is the layer without; in training about the right share of weights is gone."""
    rate, length = pick.choice([0.2, 0.35, 0.5]), pick.randrange(20, 30)
    shape = {"vocab_size": 20, "max_len": 64, "d_model": 24, "n_layers": 1, "n_heads": 4, "n_kv_heads": 2}
    layers = [
        Attention(DecoderConfig(**shape, positions="learned", dropout=p), 0, backend="plain")
        for p in (rate, 0.0)
    ]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(8, length, 24)
    with torch.no_grad():
        wet, dry = (layer.eval()(x, rotation=None, mask=None) for layer in layers)
        torch.testing.assert_close(wet, dry, rtol=0, atol=0)
        # The first token sees itself alone, so its head gives its value, or nothing where that weight is dropped.
        layer = layers[0].train()
        layer.out.weight.copy_(torch.eye(24))
        firsts = torch.stack(
            [layer(x, rotation=None, mask=None)[:, 0].unflatten(-1, (4, 6)) for _ in range(20)]
        )
    gone = float((firsts.abs().amax(-1) == 0).float().mean())
    assert abs(gone - rate) < 0.12, f"{gone} of the weights are dropped, expected {rate}"
