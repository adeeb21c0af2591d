"""RMSNorm is x / sqrt(mean(x²) + ε) · gain with the ε it was given, for zeros and for every size, forward and back."""

import random

import torch

from trueformer.nn.norms import RMSNorm


def probe(pick: random.Random) -> None:
    """Against float64; zeros give zeros and finite gradients."""
    width, eps = pick.randrange(3, 30), pick.choice([1e-8, 1e-5, 1e-3])
    norm = RMSNorm(width, eps, backend="plain")
    torch.nn.init.normal_(norm.weight)
    for size in (0.0, eps**0.5, 1e-20, 1.0, 30.0):
        x = (torch.randn(2, 4, width) * size).requires_grad_()
        y = norm(x)
        wide = x.detach().double()
        wanted = wide / (wide.square().mean(-1, keepdim=True) + eps).sqrt() * norm.weight.detach().double()
        torch.testing.assert_close(y.double(), wanted, atol=1e-6, rtol=1e-4)
        assert torch.autograd.grad(y.sum(), x)[0].isfinite().all(), "the gradient is not finite"
