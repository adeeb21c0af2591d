"""Next-token cross-entropy, summed over targets, without ever holding logits of (tokens x vocabulary).

The sum, not the mean, is returned with the number of targets, so that gradients accumulated over micro-
batches or processes are weighted by tokens: divide once, by the count of the whole step. Above `MOST_LOGITS`
logits the head and the loss are run a slice of tokens at a time and the gradients of hidden states and head
are made in the same pass, so the backward pass recomputes nothing. Leaves out reduction, logging and anything
that knows the model.

Shapes: T tokens (all axes but the last flattened), D d_model, V vocabulary.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

IGNORE = -100
MOST_LOGITS = 2**24  # 64 MiB in float32; larger slices gain no speed


class LossSum(NamedTuple):
    """`total`: loss in nats, summed over targets, float32; `n_tokens`: how many targets, an int64 scalar."""

    total: Tensor
    n_tokens: Tensor


def token_loss(
    hidden: Float[Tensor, "*tokens D"],
    head_weight: Float[Tensor, "V D"],
    targets: Int[Tensor, "*tokens"],
    *,
    softcap: float | None = None,
    chunk: int = 4096,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORE,
) -> LossSum:
    """Cross-entropy of `targets` under softmax(hidden headᵀ) in nats, summed, plus z_loss·logsumexp² each.

    At most `chunk` tokens, and at most `MOST_LOGITS` logits, are worked on at one time.

    Raises:
        ValueError: targets that are not int64.
    """
    x_TD, targets_T = _flatten(hidden, targets)
    n_tokens = (targets_T != ignore_index).sum()
    compute = _compute_dtype(x_TD, head_weight)
    x_TD, head_VD = x_TD.to(compute), head_weight.to(compute)
    options = (softcap, z_loss, label_smoothing, ignore_index)
    size = _slice_size(chunk, head_VD.shape[0])
    if len(targets_T) <= size:
        return LossSum(_direct(x_TD, head_VD, targets_T, *options), n_tokens)
    return LossSum(_Sliced.apply(x_TD, head_VD, targets_T, size, *options), n_tokens)


@torch.no_grad()
def token_nats(
    hidden: Float[Tensor, "*tokens D"],
    head_weight: Float[Tensor, "V D"],
    targets: Int[Tensor, "*tokens"],
    *,
    softcap: float | None = None,
    chunk: int = 4096,
    ignore_index: int = IGNORE,
) -> Float[Tensor, "*tokens"]:
    """Nats of every target, float32, 0 where nothing is predicted; no gradients. For evaluation."""
    x_TD, targets_T = _flatten(hidden, targets)
    compute = _compute_dtype(x_TD, head_weight)
    head_VD = head_weight.to(compute)
    size = _slice_size(chunk, head_VD.shape[0])
    parts = [
        F.cross_entropy(
            _logits(x_SD.to(compute), head_VD, softcap),
            targets_S,
            reduction="none",
            ignore_index=ignore_index,
        )
        for x_SD, targets_S in zip(x_TD.split(size), targets_T.split(size), strict=True)
    ]
    return torch.cat(parts).view(targets.shape)


def _flatten(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if targets.dtype != torch.int64:
        raise ValueError(f"targets are {targets.dtype}: expected torch.int64; convert them with .long()")
    return hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)


def _compute_dtype(x: Tensor, head: Tensor) -> torch.dtype:
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return torch.promote_types(x.dtype, head.dtype)


def _slice_size(chunk: int, vocab_size: int) -> int:
    return max(1, min(chunk, MOST_LOGITS // vocab_size))


def _logits(x_TD: Tensor, head_VD: Tensor, softcap: float | None) -> Tensor:
    logits_TV = (x_TD @ head_VD.T).float()
    return logits_TV if softcap is None else softcap * torch.tanh(logits_TV / softcap)


def _direct(
    x_TD: Tensor,
    head_VD: Tensor,
    targets_T: Tensor,
    softcap: float | None,
    z: float,
    smoothing: float,
    ignore: int,
) -> Tensor:
    logits_TV = _logits(x_TD, head_VD, softcap)
    total = F.cross_entropy(
        logits_TV, targets_T, reduction="sum", ignore_index=ignore, label_smoothing=smoothing
    )
    if z:
        lse_T = logits_TV.logsumexp(-1)
        total = total + z * (lse_T.square() * (targets_T != ignore)).sum()
    return total


class _Sliced(torch.autograd.Function):
    """Loss and both gradients in one pass over slices of S tokens."""

    @staticmethod
    def forward(ctx, x_TD, head_VD, targets_T, size, softcap, z, smoothing, ignore):
        """The summed loss; gradients for a unit upstream gradient are kept for `backward`."""
        total = torch.zeros((), dtype=torch.float32, device=x_TD.device)
        grad_x_TD = torch.empty_like(x_TD) if ctx.needs_input_grad[0] else None
        grad_head_VD = torch.zeros_like(head_VD, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for start in range(0, len(targets_T), size):
            part = slice(start, start + size)
            x_SD, targets_S = x_TD[part], targets_T[part]
            loss, grad_SV = _slice_loss(x_SD @ head_VD.T, targets_S, softcap, z, smoothing, ignore)
            total += loss
            grad_SV = grad_SV.to(x_TD.dtype)
            if grad_x_TD is not None:
                torch.mm(grad_SV, head_VD, out=grad_x_TD[part])
            if grad_head_VD is not None:
                grad_head_VD += grad_SV.T @ x_SD
        ctx.save_for_backward(grad_x_TD, grad_head_VD)
        ctx.head_dtype = head_VD.dtype
        return total

    @staticmethod
    def backward(ctx, *grad_outputs):
        """Both gradients times the upstream scalar."""
        (grad_total,) = grad_outputs
        grad_x_TD, grad_head_VD = ctx.saved_tensors
        if grad_x_TD is not None:
            grad_x_TD = grad_x_TD * grad_total
        if grad_head_VD is not None:
            grad_head_VD = (grad_head_VD * grad_total).to(ctx.head_dtype)
        return grad_x_TD, grad_head_VD, None, None, None, None, None, None


def _slice_loss(
    logits_SV: Tensor, targets_S: Tensor, softcap: float | None, z: float, smoothing: float, ignore: int
) -> tuple[Tensor, Tensor]:
    """Summed loss and its gradient with respect to the uncapped logits, for one slice."""
    vocab_size = logits_SV.shape[-1]
    logits_SV = logits_SV.float()
    if softcap is not None:
        logits_SV = softcap * torch.tanh(logits_SV / softcap)
    live_S = targets_S != ignore
    safe_S1 = targets_S.where(live_S, 0)[:, None]
    lse_S = logits_SV.logsumexp(-1)
    target_S = logits_SV.gather(-1, safe_S1)[:, 0]
    loss_S = lse_S - (1 - smoothing) * target_S + z * lse_S.square()
    if smoothing:
        loss_S = loss_S - smoothing * logits_SV.mean(-1)
    weight_S = live_S.float()
    grad_SV = (logits_SV - lse_S[:, None]).exp_().mul_((weight_S * (1 + 2 * z * lse_S))[:, None])
    if smoothing:
        grad_SV -= (weight_S * smoothing / vocab_size)[:, None]
    grad_SV.scatter_add_(-1, safe_S1, -(1 - smoothing) * weight_S[:, None])
    if softcap is not None:
        grad_SV *= 1 - (logits_SV / softcap).square()
    return (loss_S * weight_S).sum(), grad_SV
