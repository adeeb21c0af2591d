"""Parameters and gradients drawn from a seed, and steps taken with them."""

import pytest
import torch
from torch import nn

from trueformer.optim.build import build_optimizer


class Small(nn.Module):
    """One parameter of every kind: square, wide and tall matrices, an embedding, a head, vectors."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 6)
        self.square = nn.Linear(6, 6)
        self.up = nn.Linear(6, 10, bias=False)
        self.down = nn.Linear(10, 6, bias=False)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 7, bias=False)


@pytest.fixture
def small():
    """A function from a seed and a dtype to the same freshly drawn model each time."""

    def make(seed=0, dtype=torch.float32):
        torch.manual_seed(seed)
        return Small().to(dtype)

    return make


def fill_gradients(model, step, scale=1.0):
    """Gradients that depend on the step and the parameter's place alone."""
    generator = torch.Generator().manual_seed(1000 + step)
    for p in model.parameters():
        p.grad = (scale * torch.randn(p.shape, generator=generator)).to(p.dtype)


@pytest.fixture
def train():
    """A function that builds an optimizer for a model (or takes one) and takes steps `first` to `last`."""

    def run(model, config, last, *, first=0, backend="fast", optimizers=None, scale=1.0):
        optimizers = optimizers or build_optimizer(model, config, backend)
        for step in range(first, last):
            fill_gradients(model, step, scale)
            optimizers.step(1.0 / (1 + step))
        return optimizers

    return run
