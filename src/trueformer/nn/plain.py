"""The readable twins: every fused operation written out in plain tensor arithmetic.

`backend="plain"` runs a whole model on these. They are slow and keep every score in memory; they leave out
nothing that the fast paths do, so the two must agree to rounding.

Shapes: B batch, T query length, S key length, D d_model, N query heads, K key/value heads, H head_dim, R
rotary pairs, V vocabulary.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Backend = Literal["fast", "plain"]


def plain_rms_norm(
    x: Float[Tensor, "*batch D"], weight_D: Float[Tensor, "D"], eps: float
) -> Float[Tensor, "*batch D"]:
    """x / sqrt(mean(x²) + eps) · weight, in float32 (arXiv 1910.07467). Zeros stay zeros."""
    x32 = x.float()
    mean_square = x32.square().mean(dim=-1, keepdim=True)
    y = x32 / torch.sqrt(mean_square + eps)
    return (y * weight_D.float()).to(x.dtype)


def plain_layer_norm(
    x: Float[Tensor, "*batch D"], weight_D: Float[Tensor, "D"], bias_D: Float[Tensor, "D"], eps: float
) -> Float[Tensor, "*batch D"]:
    """(x - mean) / sqrt(var + eps) · weight + bias, in float32, var over D without Bessel's correction."""
    x32 = x.float()
    centred = x32 - x32.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    y = centred / torch.sqrt(variance + eps)
    return (y * weight_D.float() + bias_D.float()).to(x.dtype)


def plain_apply_rotary(
    x_BTNH: Float[Tensor, "B T N H"],
    cos_BTR: Float[Tensor, "#B T R"],
    sin_BTR: Float[Tensor, "#B T R"],
    layout: Literal["half", "interleaved"],
) -> Float[Tensor, "B T N H"]:
    """Turn channel pair r of each head by the angle whose cosine and sine are given; channels past 2R stay.

    `half` pairs channel r with r + R (Llama, NeoX), `interleaved` 2r with 2r + 1 (arXiv 2104.09864).
    """
    R = cos_BTR.shape[-1]
    y = x_BTNH.float().clone()
    for r in range(R):
        first, second = (r, r + R) if layout == "half" else (2 * r, 2 * r + 1)
        a, b = x_BTNH[..., first].float(), x_BTNH[..., second].float()
        cos, sin = cos_BTR[..., r, None], sin_BTR[..., r, None]
        y[..., first] = a * cos - b * sin
        y[..., second] = a * sin + b * cos
    return y.to(x_BTNH.dtype)


def plain_attention(
    q_BTNH: Float[Tensor, "B T N H"],
    k_BSKH: Float[Tensor, "B S K H"],
    v_BSKH: Float[Tensor, "B S K H"],
    allowed_BTS: Bool[Tensor, "#B T S"] | None,
    *,
    scale: float,
    sinks_N: Float[Tensor, "N"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "B T N H"]:
    """softmax(q·k · scale) v over the allowed keys, in float32 (arXiv 1706.03762).

    No mask: causal, the queries being the last T of S tokens. Query head n reads key head n // (N / K). A
    sink adds exp(sink) to its head's denominator and nothing to the sum.
    """
    B, T, N, _ = q_BTNH.shape
    S, K = k_BSKH.shape[1:3]
    if allowed_BTS is None:
        allowed_BTS = torch.ones(T, S, dtype=torch.bool, device=q_BTNH.device).tril(S - T)[None]
    k_BSNH = k_BSKH.repeat_interleave(N // K, dim=2).float()
    v_BSNH = v_BSKH.repeat_interleave(N // K, dim=2).float()
    scores_BNTS = torch.einsum("btnh,bsnh->bnts", q_BTNH.float(), k_BSNH) * scale
    scores_BNTS = scores_BNTS.masked_fill(~allowed_BTS[:, None], float("-inf"))
    if sinks_N is not None:
        sink_BNT1 = sinks_N.float().view(1, N, 1, 1).expand(B, N, T, 1)
        scores_BNTS = torch.cat([scores_BNTS, sink_BNT1], dim=-1)
    weights_BNTS = torch.softmax(scores_BNTS, dim=-1)[..., :S]
    weights_BNTS = torch.dropout(weights_BNTS, dropout, train=dropout > 0)
    return torch.einsum("bnts,bsnh->btnh", weights_BNTS, v_BSNH).to(q_BTNH.dtype)


def plain_cross_entropy(
    logits_TV: Float[Tensor, "T V"],
    targets_T: Int[Tensor, "T"],
    *,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Sum over targets of -log p(target), in nats, float32; `ignore_index` counts nothing.

    Label smoothing s mixes in the uniform distribution: (1 - s)·nll + s·(mean over V of -log p) (arXiv
    1512.00567).
    z-loss adds z·logsumexp² a target (arXiv 2204.02311).
    """
    counted = targets_T != ignore_index
    logits_TV, targets_T = logits_TV.float()[counted], targets_T[counted].long()
    log_z_T = torch.logsumexp(logits_TV, dim=-1)
    log_p_TV = logits_TV - log_z_T[:, None]
    nll_T = -log_p_TV.gather(1, targets_T[:, None])[:, 0]
    uniform_T = -log_p_TV.mean(dim=-1)
    loss_T = (1 - label_smoothing) * nll_T + label_smoothing * uniform_T
    return (loss_T + z_loss * log_z_T.square()).sum()
