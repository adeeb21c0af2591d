"""AdamW's first steps have the lengths of the paper: with one gradient throughout, each is exactly the rate."""

import random

import torch

from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig


def probe(pick: random.Random) -> None:
    """Equal gradients make both corrected means the gradient itself, so every step is lr long, the first too."""
    layer = torch.nn.Linear(pick.randrange(3, 9), pick.randrange(3, 9), bias=False)
    rate = pick.uniform(0.001, 0.01)
    config = OptimConfig(name="adamw", lr_matrices=rate, weight_decay=0.0, beta1=pick.uniform(0.8, 0.95))
    optimizer = build_optimizer(layer, config, "plain")
    gradient = torch.randn_like(layer.weight)
    for _ in range(pick.randrange(3, 6)):
        before = layer.weight.detach().clone()
        layer.weight.grad = gradient.clone()
        optimizer.step()
        torch.testing.assert_close(
            layer.weight.detach() - before, -rate * gradient.sign(), rtol=1e-3, atol=1e-6
        )
