"""Attention as a function: queries, keys, values and a mask in, the mixture out.

The fast path is `scaled_dot_product_attention`; `backend="plain"` runs the written-out twin. Leaves out where
keys come from (`attention.py`, `cache.py`) and which of them may be seen (`masks.py`).

Shapes: B batch, T query length, S key length, N query heads, K key/value heads, G = N / K, H head_dim.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from trueformer.nn.flex import flex_attend
from trueformer.nn.plain import Backend, plain_attention
from trueformer.nn.short import short_attention, suits_short

# True where a query may see a key (B or 1, T, S), or the same in blocks.
Mask = Bool[Tensor, "#B T S"] | BlockMask


def attend(
    q_BTNH: Float[Tensor, "B T N H"],
    k_BSKH: Float[Tensor, "B S K H"],
    v_BSKH: Float[Tensor, "B S K H"],
    mask: Mask | None,
    *,
    scale: float,
    sinks_N: Float[Tensor, "N"] | None = None,
    dropout: float = 0.0,
    backend: Backend = "fast",
) -> Float[Tensor, "B T N H"]:
    """softmax(q·k · scale) v over the allowed keys. No mask: causal if T == S, every key if T == 1."""
    T, S = q_BTNH.shape[1], k_BSKH.shape[1]
    assert mask is not None or T in (1, S), "causality without a mask needs equal lengths or one query"
    if isinstance(mask, BlockMask):
        assert backend == "fast"
        assert dropout == 0
        return flex_attend(q_BTNH, k_BSKH, v_BSKH, mask, scale=scale, sinks_N=sinks_N)
    if backend == "plain":
        return plain_attention(q_BTNH, k_BSKH, v_BSKH, mask, scale=scale, sinks_N=sinks_N, dropout=dropout)
    q, k, v = (x.transpose(1, 2) for x in (q_BTNH, k_BSKH, v_BSKH))
    if sinks_N is not None:
        if mask is None:
            mask = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)[None]
        q, k, v, mask = _with_sink_key(q, k, v, mask, sinks_N / scale)
    return _fused(q, k, v, mask, scale, dropout)[..., : q_BTNH.shape[-1]].transpose(1, 2)


def _fused(
    q_BNTH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor, allowed_BTS: Tensor | None, scale: float, dropout: float
) -> Tensor:
    B, N, T, H = q_BNTH.shape
    K = k_BKSH.shape[1]
    if suits_short(q_BNTH, k_BKSH):
        return short_attention(q_BNTH, k_BKSH, v_BKSH, allowed_BTS, scale=scale, dropout=dropout)
    if T == 1:
        # The heads of a group read the same keys, so they can be rows of one query: each key is read once. In
        # bfloat16 on a CPU this decodes 4 times as fast as enable_gqa at 9 heads for 3.
        q_BNTH = q_BNTH.reshape(B, K, N // K, H)
    y = F.scaled_dot_product_attention(
        q_BNTH,
        k_BKSH,
        v_BKSH,
        attn_mask=None if allowed_BTS is None else allowed_BTS[:, None],
        dropout_p=dropout,
        is_causal=allowed_BTS is None and T > 1,
        scale=scale,
        enable_gqa=T > 1 and N != K,
    )
    return y.reshape(B, N, T, H)


def _with_sink_key(
    q_BNTH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor, allowed_BTS: Tensor, sinks_N: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Add a channel and a key of value zero so that q·(that key) is the head's sink; other scores stay.

    The fused kernels know no sinks; this gives them one without an additive mask of N times the size.
    """
    B, N, T, _ = q_BNTH.shape
    sink_BNT1 = sinks_N.to(q_BNTH.dtype).view(1, N, 1, 1).expand(B, N, T, 1)
    q = torch.cat([q_BNTH, sink_BNT1], dim=-1)
    k = F.pad(k_BKSH, (0, 1, 0, 1))
    k[..., -1, -1] = 1
    allowed_BTS = F.pad(allowed_BTS, (0, 1), value=True)
    return q, k, F.pad(v_BKSH, (0, 1, 0, 1)), allowed_BTS
