"""Next-token cross-entropy, summed over targets, without ever holding logits of (tokens x vocabulary).

The sum, not the mean, is returned with the number of targets, so that gradients accumulated over
micro-batches or processes are weighted by tokens: divide once, by the count of the whole step. A small
vocabulary takes the direct path, plain enough for a compiler to fuse. Beyond that, head and loss are run on
slices of tokens, and the gradients of hidden states and head are made in the same pass: nothing is kept and
nothing computed twice. Slices also win time, since logits that fit the cache are not read back from memory.
Leaves out the division, and anything of the model.

Shapes: T tokens (all axes but the last flattened), S tokens of a slice, D d_model, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

IGNORE = -100
SLICE_TOKENS = 512  # products with the head need this many rows to run at full speed, but ...
CACHED_LOGITS = 2**20  # ... softmax runs fastest on what stays in a cache: 4 MiB in float32
HEAD_ROWS = 8192  # of the head's gradient made at one time: the product is as large as what it is added to
COMPILED_LOGITS = 2**24  # a compiler fuses the direct path, which then wins for longer; 64 MiB


class LossSum(NamedTuple):
    """`total`: loss in nats, summed over targets, float32; `n_tokens`: how many targets, an int64 scalar."""

    total: Tensor
    n_tokens: Tensor


class _Terms(NamedTuple):
    """What the loss is made of besides the plain cross-entropy."""

    softcap: float | None
    z_loss: float
    smoothing: float


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

    At most `chunk` tokens are worked on at one time, fewer where the vocabulary is large. Logits are softened
    and summed in float32 whatever they were multiplied in. Smoothing as in Szegedy et al., arXiv 1512.00567;
    z-loss as in PaLM, arXiv 2204.02311; `softcap` c makes logits c·tanh(logits / c).

    Raises:
        ValueError: targets that are not int64.
    """
    x_TD, targets_T = _flatten(hidden, targets)
    terms = _Terms(softcap, z_loss, label_smoothing)
    compiling = torch.compiler.is_compiling()
    n_logits = len(targets_T) * head_weight.shape[0]
    if len(targets_T) <= chunk and n_logits <= (COMPILED_LOGITS if compiling else CACHED_LOGITS):
        total = _direct(x_TD, head_weight, targets_T, terms, ignore_index)
    else:
        total = _sliced(x_TD, head_weight, targets_T, terms, ignore_index, chunk)
    return LossSum(total, (targets_T != ignore_index).sum())


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
    """Nats of every target, float32, 0 where nothing is predicted; no gradients. For evaluation.

    Raises:
        ValueError: targets that are not int64.
    """
    x_TD, targets_T = _flatten(hidden, targets)
    dtype, vocab_size = _compute_dtype(x_TD, head_weight), head_weight.shape[0]
    head_VD, nats_T = head_weight.to(dtype), torch.empty(len(targets_T), device=x_TD.device)
    for part in _parts(len(targets_T), _slice_size(chunk, vocab_size)):
        logits_SV, targets_S, nats_S = x_TD[part].to(dtype) @ head_VD.T, targets_T[part], nats_T[part]
        for rows in _parts(len(targets_S), _block_size(vocab_size)):
            capped = _cap(logits_SV[rows], softcap)
            nats_S[rows] = F.cross_entropy(
                capped, targets_S[rows], reduction="none", ignore_index=ignore_index
            )
    return nats_T.view(targets.shape)


def _flatten(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if targets.dtype != torch.int64:
        raise ValueError(f"targets are {targets.dtype}: expected torch.int64; convert them with .long()")
    return hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)


def _compute_dtype(x: Tensor, head: Tensor) -> torch.dtype:
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return torch.promote_types(x.dtype, head.dtype)


def _slice_size(chunk: int, vocab_size: int) -> int:
    return min(chunk, max(SLICE_TOKENS, _block_size(vocab_size)))


def _block_size(vocab_size: int) -> int:
    return max(1, CACHED_LOGITS // vocab_size)


def _parts(total: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, total, size)]


def _cap(logits: Tensor, softcap: float | None) -> Tensor:
    logits = logits.float()
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def _direct(x_TD: Tensor, head_VD: Tensor, targets_T: Tensor, terms: _Terms, ignore: int) -> Tensor:
    dtype = _compute_dtype(x_TD, head_VD)
    logits_TV = _cap(x_TD.to(dtype) @ head_VD.to(dtype).T, terms.softcap)
    total = F.cross_entropy(
        logits_TV, targets_T, reduction="sum", ignore_index=ignore, label_smoothing=terms.smoothing
    )
    if terms.z_loss:
        lse_T = logits_TV.logsumexp(-1).masked_fill(targets_T == ignore, 0.0)
        total = total + terms.z_loss * lse_T.square().sum()
    return total


def _sliced(
    x_TD: Tensor, head_VD: Tensor, targets_T: Tensor, terms: _Terms, ignore: int, chunk: int
) -> Tensor:
    training = torch.is_grad_enabled()
    total, _, _ = _loss_and_gradients(
        x_TD,
        head_VD,
        targets_T,
        _compute_dtype(x_TD, head_VD),
        _slice_size(chunk, head_VD.shape[0]),
        ignore,
        *terms,
        training and x_TD.requires_grad,
        training and head_VD.requires_grad,
    )
    return total


# One operation to a compiler, which would otherwise unroll the slices; they are large enough without it.
@torch.library.custom_op("trueformer::loss_and_gradients", mutates_args=())
def _loss_and_gradients(
    x_TD: Tensor,
    head_VD: Tensor,
    targets_T: Tensor,
    dtype: torch.dtype,
    size: int,
    ignore: int,
    softcap: float | None,
    z_loss: float,
    smoothing: float,
    want_x: bool,
    want_head: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The summed loss and its gradients, empty where not wanted. Only live targets are worked on."""
    total = torch.zeros((), device=x_TD.device)
    grad_x_TD = torch.zeros_like(x_TD if want_x else x_TD[:0])
    grad_head_VD = torch.zeros_like(head_VD if want_head else head_VD[:0], dtype=torch.float32)
    head = head_VD.to(dtype)
    for live_S in (targets_T != ignore).nonzero()[:, 0].split(size):
        x_SD, targets_S = x_TD[live_S].to(dtype), targets_T[live_S]
        grad_SV = x_SD @ head.T  # logits, until they are overwritten
        for rows in _parts(len(live_S), _block_size(len(head))):
            total += _to_gradient_(grad_SV[rows], targets_S[rows], _Terms(softcap, z_loss, smoothing))
        if want_x:
            grad_x_TD[live_S] = (grad_SV @ head).to(x_TD.dtype)
        if want_head:
            for rows in _parts(
                len(head), HEAD_ROWS
            ):  # float32: a sum of bf16 slices would lose the small ones
                grad_head_VD[rows] += grad_SV[:, rows].T @ x_SD
    return total, grad_x_TD, grad_head_VD.to(head_VD.dtype)


@_loss_and_gradients.register_fake
def _(
    x_TD, head_VD, targets_T, dtype, size, ignore, softcap, z_loss, smoothing, want_x, want_head
) -> tuple[Tensor, Tensor, Tensor]:
    grads = [torch.empty_like(t if want else t[:0]) for t, want in ((x_TD, want_x), (head_VD, want_head))]
    return x_TD.new_empty((), dtype=torch.float32), grads[0], grads[1]


def _keep_gradients(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # or zeros as large as the head would be made for them
    ctx.save_for_backward(*output[1:])


def _scale_gradients(ctx: Any, grad_total: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    scaled = [gradient.mul_(grad_total) if gradient.numel() else None for gradient in ctx.saved_tensors]
    return (*scaled, *[None] * 9)  # in place, so that a second backward is refused and not wrong


_loss_and_gradients.register_autograd(_scale_gradients, setup_context=_keep_gradients)


def _to_gradient_(logits_SV: Tensor, targets_S: Tensor, terms: _Terms) -> Tensor:
    """Summed loss of a few tokens, whose logits are overwritten with its gradient with respect to them.

    With p the softmax and y the target: loss = lse - (1 - e) l_y - (e / V) Σ l + z lse², so its gradient is
    (1 + 2 z lse) p - (1 - e) [v = y] - e / V; under a cap, times the slope 1 - (l / c)² of the cap.
    """
    softcap, z, smoothing = terms
    capped_SV, y_S1 = _cap(logits_SV, softcap), targets_S[:, None]
    logp_SV = F.log_softmax(capped_SV, dim=-1)
    logp_y_S1 = logp_SV.gather(-1, y_S1)
    loss = -(1 - smoothing) * logp_y_S1.sum()
    if smoothing:
        loss -= smoothing * logp_SV.mean(-1).sum()
    grad_SV = logp_SV.exp_()
    if z:
        lse_S1 = capped_SV.gather(-1, y_S1) - logp_y_S1
        loss += z * lse_S1.square().sum()
        grad_SV *= 1 + 2 * z * lse_S1
    if smoothing:
        grad_SV -= smoothing / logits_SV.shape[-1]
    grad_SV.scatter_add_(-1, y_S1, torch.full_like(logp_y_S1, smoothing - 1))
    if softcap is not None:
        grad_SV *= 1 - (capped_SV / softcap).square()
    logits_SV.copy_(grad_SV)
    return loss
