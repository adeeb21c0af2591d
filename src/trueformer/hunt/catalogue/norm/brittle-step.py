"""Both norms have their epsilon under the root: small input comes out so, and zeros send back finite gradients."""

import random

import torch

from trueformer.nn.norms import LayerNorm, RMSNorm


def probe(pick: random.Random) -> None:
    """Against float64, at sizes around the root of the epsilon, with any gain and bias."""
    width, eps = pick.randrange(4, 30), pick.choice([1e-6, 1e-5, 1e-3])
    for kind in (RMSNorm, LayerNorm):
        norm = kind(width, eps, backend="plain")
        for parameter in norm.parameters():
            torch.nn.init.normal_(parameter)
        for size in (0.0, 0.3 * eps**0.5, eps**0.5, 3 * eps**0.5, 1.0):
            x = (torch.randn(3, width) * size).requires_grad_()
            y = norm(x)
            torch.testing.assert_close(
                y.double(), _wanted(norm, x.detach().double(), eps), atol=1e-6, rtol=1e-3
            )
            assert torch.autograd.grad(y.sum(), x)[0].isfinite().all(), "the gradient is not finite"


def _wanted(norm: torch.nn.Module, x: torch.Tensor, eps: float) -> torch.Tensor:
    weight, bias = norm.weight.detach().double(), getattr(norm, "bias", None)
    if bias is None:
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight
    x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias.detach().double()
