"""AdaMuon divides the orthogonal direction by the root of its own running square, and rescales to 0.2 of the rate."""

import random

import torch

from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig
from trueformer.optim.plain import plain_orthogonalise


def probe(pick: random.Random) -> None:
    """Three steps written out: momentum, sign, orthogonal direction, its running square, the rescaling."""
    beta, rate, nesterov = pick.uniform(0.8, 0.95), pick.uniform(0.01, 0.1), pick.random() < 0.5
    layer = torch.nn.Linear(pick.randrange(4, 10), pick.randrange(4, 10), bias=False)
    config = OptimConfig(name="adamuon", lr_matrices=rate, momentum=beta, nesterov=nesterov, weight_decay=0.0)
    optimizer = build_optimizer(layer, config, "plain")
    mean = square = torch.zeros_like(layer.weight)
    for _ in range(3):
        gradient, before = torch.randn_like(layer.weight), layer.weight.detach().clone()
        layer.weight.grad = gradient.clone()
        optimizer.step()
        mean = beta * mean + (1 - beta) * gradient
        ahead = beta * mean + (1 - beta) * gradient if nesterov else mean
        direction = plain_orthogonalise(ahead.sign(), config.orthogonal_steps)
        square = beta * square + (1 - beta) * direction.square()
        scaled = direction / (square.sqrt() + 1e-8)
        wanted = -0.2 * rate * scaled / scaled.square().mean().sqrt()
        torch.testing.assert_close(layer.weight.detach() - before, wanted, rtol=1e-3, atol=1e-5)
