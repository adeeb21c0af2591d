"""An optimizer that was saved and restored makes the very steps that the first one makes."""

import random

import torch
from torch import nn

from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig


def probe(pick: random.Random) -> None:
    """After some steps and a restore, one more step is Adam's own with the right count, written out."""
    lr, before = pick.choice([0.003, 0.01, 0.02]), pick.randrange(2, 9)
    config = OptimConfig(lr_vectors=lr, weight_decay=0.0)
    width = pick.choice([6, 10])
    layers = [nn.LayerNorm(width) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    first, second = (build_optimizer(layer, config, "plain") for layer in layers)
    mean, square, weight = (torch.zeros_like(layers[0].weight) for _ in range(3))
    weight += layers[0].weight.detach()
    for step in range(1, before + 2):
        gradient = torch.randn_like(weight)
        mean = config.beta1 * mean + (1 - config.beta1) * gradient
        square = config.beta2 * square + (1 - config.beta2) * gradient**2
        root = (square / (1 - config.beta2**step)).sqrt() + config.eps
        weight = weight - lr * mean / (1 - config.beta1**step) / root
        if step == before + 1:
            layers[1].load_state_dict(layers[0].state_dict())
            second.load_state_dict(*first.state_dict())
        layer, optimizer = (layers[1], second) if step > before else (layers[0], first)
        for parameter in layer.parameters():
            parameter.grad = torch.zeros_like(parameter)
        layer.weight.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(layers[1].weight.detach(), weight)
