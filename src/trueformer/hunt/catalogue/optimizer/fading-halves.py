"""A bf16 parameter with its rest is a float32: steps of it are those of a float32 parameter, bit for bit."""

import random

import torch

from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig
from trueformer.optim.precision import join, split


def probe(pick: random.Random) -> None:
    """Random bits survive; a weight with a rest stays at a rate of zero; many small steps arrive."""
    x = torch.randn(pick.randrange(50, 200)) * 10.0 ** pick.randrange(-3, 4)
    assert torch.equal(join(*split(x)), x), "what was taken apart comes back as something else"
    layer = torch.nn.Linear(pick.randrange(4, 9), pick.randrange(4, 9), bias=False).bfloat16()
    wide = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)
    wide.load_state_dict(layer.state_dict())
    config = OptimConfig(name="adamw", lr_matrices=1e-4, weight_decay=pick.choice([0.0, 0.1]))
    optimizers = [build_optimizer(one, config, "plain") for one in (layer, wide)]
    for step in range(12):
        gradient = torch.randn(layer.weight.shape).bfloat16()
        layer.weight.grad, wide.weight.grad = gradient, gradient.float()
        for optimizer in optimizers:
            optimizer.step(0.0 if step > 8 else 1.0)
    unit = wide.weight.detach().abs() * 2**-7
    assert ((layer.weight.detach().float() - wide.weight.detach()).abs() <= unit + 1e-9).all()
