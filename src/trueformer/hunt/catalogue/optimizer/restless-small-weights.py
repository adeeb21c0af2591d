"""Decay shrinks a weight by lr · decay of itself and leaves nothing in the optimizer's state."""

import random

import torch

from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig


def probe(pick: random.Random) -> None:
    """Steps without any gradient are a product with 1 - lr · decay; a step on a gradient is that and the rule."""
    layer = torch.nn.Linear(pick.randrange(3, 9), pick.randrange(3, 9), bias=False)
    rate, decay = pick.uniform(0.01, 0.1), pick.uniform(0.05, 0.5)
    config = OptimConfig(name="adamw", lr_matrices=rate, weight_decay=decay)
    optimizer = build_optimizer(layer, config, "plain")
    for _ in range(2):
        before = layer.weight.detach().clone()
        layer.weight.grad = torch.zeros_like(layer.weight)
        optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), before * (1 - rate * decay))
    tensors, _ = optimizer.state_dict()
    assert not any(tensor.any() for tensor in tensors.values()), "zero gradients leave zero moments"
    optimizer = build_optimizer(layer, config, "plain")
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn_like(layer.weight)
    optimizer.step()
    wanted = before * (1 - rate * decay) - rate * layer.weight.grad.sign()
    torch.testing.assert_close(layer.weight.detach(), wanted, rtol=1e-4, atol=1e-4)
