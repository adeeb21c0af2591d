"""Parameters in bf16 go on after a restore as if nothing had happened: with all the digits that they do not show."""

import random

import torch
from torch import nn

from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig


def probe(pick: random.Random) -> None:
    """A model of several equal matrices: after small steps, a restore and more of them, both are equal."""
    width = pick.choice([4, 6])
    rate = pick.choice([1e-3, 3e-4])
    config = OptimConfig(name=pick.choice(["adamw", "muon"]), lr_matrices=rate, lr_vectors=rate)
    models = [nn.Sequential(*(nn.Linear(width, width) for _ in range(3))).bfloat16() for _ in range(2)]
    first, second = (build_optimizer(model, config, "plain") for model in models)
    for _ in range(pick.randrange(2, 5)):
        _step(models[0], first, [torch.randn_like(p) for p in models[0].parameters()])
    models[1].load_state_dict(models[0].state_dict())
    second.load_state_dict(*first.state_dict())
    for _ in range(6):
        gradients = [torch.randn_like(p) for p in models[0].parameters()]
        for model, optimizer in zip(models, (first, second), strict=True):
            _step(model, optimizer, gradients)
    (one, _), (other, _) = first.state_dict(), second.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(p, q)


def _step(model: nn.Module, optimizer, gradients: list[torch.Tensor]) -> None:
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    optimizer.step()
