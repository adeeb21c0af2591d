"""AdamW, Muon and AdaMuon as they are written down, one matrix at a time: what the fast versions are tested
against.

Each function moves one float32 parameter and its state in place. Leaves out everything done for speed: no
stacking, no fused kernels. `--backend plain` trains with these.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trueformer.optim.config import OptimConfig

QUINTIC = (3.4445, -4.7750, 2.0315)  # steep at zero; singular values land in about 0.7 to 1.2 (Jordan 2024)


def plain_adamw(
    parameter: Float[Tensor, "..."],
    gradient: Float[Tensor, "..."],
    mean: Float[Tensor, "..."],
    square: Float[Tensor, "..."],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    step: int,
) -> None:
    """Adam with decoupled decay (Loshchilov & Hutter, arXiv 1711.05101). `step` counts from 1."""
    parameter.mul_(1 - lr * decay)  # on the weights, never into the moments
    mean.mul_(beta1).add_((1 - beta1) * gradient)
    square.mul_(beta2).add_((1 - beta2) * gradient**2)
    unbiased_mean = mean / (1 - beta1**step)
    unbiased_square = square / (1 - beta2**step)
    parameter.sub_(lr * unbiased_mean / (unbiased_square.sqrt() + eps))


def plain_orthogonalise(matrix: Float[Tensor, "rows columns"], steps: int) -> Float[Tensor, "rows columns"]:
    """Near the closest semi-orthogonal matrix: U Vᵀ of U S Vᵀ, by a quintic Newton-Schulz iteration.

    Source: Jordan 2024, kellerjordan.github.io/posts/muon. Singular values are driven towards 1, not onto it.
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)  # the spectral norm is then at most 1
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def plain_muon(
    parameter: Float[Tensor, "rows columns"],
    gradient: Float[Tensor, "rows columns"],
    momentum: Float[Tensor, "rows columns"],
    *,
    lr: float,
    beta: float,
    nesterov: bool,
    decay: float,
    orthogonal_steps: int,
) -> None:
    """Muon (Jordan 2024) with AdamW's update size, about 0.2 lr a weight (Liu et al., arXiv 2502.16982)."""
    momentum.mul_(beta).add_((1 - beta) * gradient)
    ahead = beta * momentum + (1 - beta) * gradient if nesterov else momentum
    direction = plain_orthogonalise(ahead, orthogonal_steps)
    parameter.mul_(1 - lr * decay)
    parameter.sub_(lr * 0.2 * math.sqrt(max(parameter.shape)) * direction)


def plain_adamuon(
    parameter: Float[Tensor, "rows columns"],
    gradient: Float[Tensor, "rows columns"],
    momentum: Float[Tensor, "rows columns"],
    square: Float[Tensor, "rows columns"],
    *,
    lr: float,
    beta: float,
    nesterov: bool,
    decay: float,
    orthogonal_steps: int,
) -> None:
    """AdaMuon (Si, Zhang & Shen, arXiv 2507.11005, algorithm 1; Nesterov momentum as in the authors' code).

    The sign of the momentum is orthogonalised, divided by the root of its running square (decayed by the same
    beta, not bias-corrected: the rescaling cancels that), and rescaled to an RMS of exactly 0.2 lr.
    """
    momentum.mul_(beta).add_((1 - beta) * gradient)
    ahead = beta * momentum + (1 - beta) * gradient if nesterov else momentum
    direction = plain_orthogonalise(torch.sign(ahead), orthogonal_steps)
    square.mul_(beta).add_((1 - beta) * direction**2)
    scaled = direction / (square.sqrt() + 1e-8)
    parameter.mul_(1 - lr * decay)
    parameter.sub_(lr * 0.2 * math.sqrt(parameter.numel()) / (scaled.norm() + 1e-8) * scaled)


class PlainAdamW:
    """`plain_adamw` over a list of parameters."""

    def __init__(self, parameters: Sequence[Tensor], config: OptimConfig) -> None:
        self._config = config
        self.slots = _zeros(parameters, "mean", "square")

    def update(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], *, lr: float, decay: float, step: int
    ) -> None:
        """Move every parameter by one step; `step` counts from 1."""
        c = self._config
        for tensors in zip(parameters, gradients, *self.slots.values(), strict=True):
            plain_adamw(*tensors, lr=lr, decay=decay, step=step, beta1=c.beta1, beta2=c.beta2, eps=c.eps)


class PlainMuon:
    """`plain_muon` or `plain_adamuon` over a list of matrices."""

    def __init__(self, parameters: Sequence[Tensor], config: OptimConfig) -> None:
        self._config = config
        adaptive = config.name == "adamuon"
        self._move = plain_adamuon if adaptive else plain_muon
        self.slots = _zeros(parameters, *(("momentum", "square") if adaptive else ("momentum",)))

    def update(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], *, lr: float, decay: float, step: int
    ) -> None:
        """Move every matrix by one step."""
        c = self._config
        for tensors in zip(parameters, gradients, *self.slots.values(), strict=True):
            self._move(
                *tensors,
                lr=lr,
                decay=decay,
                beta=c.momentum,
                nesterov=c.nesterov,
                orthogonal_steps=c.orthogonal_steps,
            )


def _zeros(parameters: Sequence[Tensor], *slots: str) -> dict[str, list[Tensor]]:
    return {slot: [torch.zeros_like(p, dtype=torch.float32) for p in parameters] for slot in slots}
