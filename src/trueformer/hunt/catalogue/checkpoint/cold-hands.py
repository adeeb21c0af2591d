"""What an optimizer remembers is in another one after a restore, to the last bit."""

import random

import torch
from torch import nn

from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig


def probe(pick: random.Random) -> None:
    """Two equal models, one trained and one restored, are equal after one more step of each."""
    name = pick.choice(["adamw", "muon", "adamuon"])
    sizes = [pick.choice([4, 6, 9]), pick.choice([5, 8])]
    models = [nn.Sequential(nn.Linear(*sizes), nn.LayerNorm(sizes[1])) for _ in range(2)]
    first, second = (build_optimizer(model, OptimConfig(name=name), "plain") for model in models)
    for _ in range(pick.randrange(2, 6)):
        _step(models[0], first, [torch.randn_like(p) for p in models[0].parameters()])
    models[1].load_state_dict(models[0].state_dict())
    second.load_state_dict(*first.state_dict())
    gradients = [torch.randn_like(p) for p in models[0].parameters()]
    for model, optimizer in zip(models, (first, second), strict=True):
        _step(model, optimizer, gradients)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def _step(model: nn.Module, optimizer, gradients: list[torch.Tensor]) -> None:
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    optimizer.step()
