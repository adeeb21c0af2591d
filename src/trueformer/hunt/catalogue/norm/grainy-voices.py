"""An RMSNorm of bfloat16 input is that of float32, rounded once at the end."""

import random

import torch

from trueformer.nn.norms import RMSNorm


def probe(pick: random.Random) -> None:
    """Against float64, rounded to bfloat16: equal but for the few numbers that float32 leaves on the other side."""
    width, eps = pick.randrange(8, 70), pick.choice([1e-6, 1e-5])
    norm = RMSNorm(width, eps, backend="plain").to(torch.bfloat16)
    with torch.no_grad():
        norm.weight.copy_(1 + 0.25 * torch.randint(-2, 3, (width,)))
    x = (torch.randn(40, width) * pick.uniform(0.1, 20)).bfloat16()
    y = norm(x)
    assert y.dtype == torch.bfloat16, "the result has another dtype than the input"
    wide = x.double()
    wanted = wide / (wide.square().mean(-1, keepdim=True) + eps).sqrt() * norm.weight.double()
    other = float((y != wanted.bfloat16()).float().mean())
    assert other < 0.005, "rounded before the end"
