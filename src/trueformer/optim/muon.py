"""Muon and AdaMuon over many small matrices at once: those of one shape are stacked and orthogonalised
together.

A transformer has dozens of matrices in two or three shapes. Stacked, one batched product does the work of
twenty small ones. Tall matrices are kept transposed, so that W and Wᵀ share a stack and the Gram matrix is
always the small one. Tested step by step against `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")` and
against `optim.plain`.

One convention for the rate: an update's root mean square is 0.2 lr (Liu et al., arXiv 2502.16982), as AdamW's
about is, so one rate suits all three optimizers. Keller Jordan's own scale, lr' sqrt(max(1, rows / columns)),
has the same size on a square matrix of width d at lr = 5 lr' / sqrt(d).

Shapes: M matrices of a stack, R rows, C columns, R <= C.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trueformer.optim.config import OptimConfig
from trueformer.optim.plain import QUINTIC

RMS = 0.2  # of an update, in units of lr
ADAMUON_EPS = 1e-8


def orthogonalise(x_MRC: Float[Tensor, "M R C"], steps: int) -> Float[Tensor, "M R C"]:
    """Each matrix's near orthogonal factor by the quintic Newton-Schulz iteration, in bf16; needs R <= C."""
    a, b, c = QUINTIC
    x_MRC = x_MRC.bfloat16()
    x_MRC = x_MRC / _norm_M11(x_MRC).clamp(min=1e-7)
    for _ in range(steps):
        gram_MRR = x_MRC @ x_MRC.mT
        poly_MRR = torch.baddbmm(gram_MRR, gram_MRR, gram_MRR, beta=b, alpha=c)
        x_MRC = torch.baddbmm(x_MRC, poly_MRR, x_MRC, beta=a)
    return x_MRC


class StackedMuon:
    """The update rule of Muon, or of AdaMuon when the config says so, for a list of matrices."""

    def __init__(self, parameters: Sequence[Tensor], config: OptimConfig) -> None:
        self._config = config
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, matrix in enumerate(parameters):
            by_shape.setdefault(tuple(sorted(matrix.shape)), []).append(i)
        self._members = list(by_shape.values())
        self._adaptive = config.name == "adamuon"
        names = ("momentum", "square") if self._adaptive else ("momentum",)
        self._stacks = {name: [_zeros(parameters, members) for members in self._members] for name in names}
        self.slots = {name: self._views(parameters, stacks) for name, stacks in self._stacks.items()}

    def _views(self, matrices: Sequence[Tensor], stacks: list[Tensor]) -> list[Tensor]:
        """The state of each matrix, in its own shape and the matrices' order, sharing the stacks' memory."""
        views: dict[int, Tensor] = {}
        for members, stack_MRC in zip(self._members, stacks, strict=True):
            views |= {i: _upright(stack_MRC[j], matrices[i]) for j, i in enumerate(members)}
        return [views[i] for i in range(len(matrices))]

    def update(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], *, lr: float, decay: float, step: int
    ) -> None:
        """Move every float32 matrix by one step."""
        torch._foreach_mul_(list(parameters), 1 - lr * decay)
        for k, members in enumerate(self._members):
            gradient_MRC = torch.stack([_wide(gradients[i]) for i in members])
            direction_MRC, scale = self._direction(k, gradient_MRC)
            moves = [_upright(direction_MRC[j], parameters[i]) for j, i in enumerate(members)]
            torch._foreach_add_([parameters[i] for i in members], moves, alpha=-lr * scale)

    def _direction(self, k: int, gradient_MRC: Tensor) -> tuple[Tensor, float]:
        """What to subtract, up to lr and the factor returned with it."""
        config, momentum_MRC = self._config, self._stacks["momentum"][k]
        momentum_MRC.lerp_(gradient_MRC, 1 - config.momentum)
        ahead_MRC = gradient_MRC.lerp_(momentum_MRC, config.momentum) if config.nesterov else momentum_MRC
        rows, columns = ahead_MRC.shape[1:]
        if not self._adaptive:
            return orthogonalise(ahead_MRC, config.orthogonal_steps), RMS * math.sqrt(columns)
        direction_MRC = orthogonalise(ahead_MRC.sign(), config.orthogonal_steps).float()
        square_MRC = self._stacks["square"][k]
        square_MRC.lerp_(direction_MRC.square(), 1 - config.momentum)
        direction_MRC /= square_MRC.sqrt().add_(ADAMUON_EPS)
        direction_MRC /= _norm_M11(direction_MRC) + ADAMUON_EPS
        return direction_MRC, RMS * math.sqrt(rows * columns)


def _norm_M11(x_MRC: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x_MRC, dim=(-2, -1), keepdim=True)


def _wide(matrix: Tensor) -> Tensor:
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


def _upright(wide: Tensor, matrix: Tensor) -> Tensor:
    return wide.mT if matrix.shape[0] > matrix.shape[1] else wide


def _zeros(matrices: Sequence[Tensor], members: list[int]) -> Tensor:
    return torch.zeros_like(torch.stack([_wide(matrices[i]) for i in members]), dtype=torch.float32)
