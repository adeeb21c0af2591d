"""A LayerNorm, and an RMSNorm, norms each token by what that token holds alone."""

import random

import torch

from trueformer.nn.norms import LayerNorm, RMSNorm


def probe(pick: random.Random) -> None:
    """Rows of tokens of very different sizes against the formulas in float64, and each token by itself."""
    width, eps = pick.randrange(6, 40), pick.choice([1e-5, 1e-3])
    sizes = torch.rand(2, pick.randrange(2, 9), 1) * pick.uniform(2, 9) + 0.1
    x = torch.randn(2, sizes.shape[1], width) * sizes + pick.uniform(-2, 2)
    for kind in (LayerNorm, RMSNorm):
        norm = kind(width, eps, backend="plain")
        for parameter in norm.parameters():
            torch.nn.init.normal_(parameter)
        y = x.double()
        y = y - y.mean(-1, keepdim=True) if kind is LayerNorm else y
        wanted = y / (y.square().sum(-1, keepdim=True) / width + eps).sqrt() * norm.weight.double()
        wanted = wanted + norm.bias.double() if isinstance(norm, LayerNorm) else wanted
        found = norm(x)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm(x[:, :1]), found[:, :1], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm(x[0, 0]), found[0, 0], rtol=1e-5, atol=1e-6)
