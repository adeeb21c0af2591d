"""Causal self-attention: multi-head, grouped-query or multi-query; QK-norm, rotary positions, sinks, a cache.

The fast path is `scaled_dot_product_attention`; `backend="plain"` runs the written-out twin. Which keys may
be seen is decided once a forward pass by the model, in `nn/masks.py`, not here. Leaves out cross-attention.

Shapes: B batch, T query length, S key length, D d_model, N query heads, K key/value heads, G = N / K, H
head_dim.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from trueformer.models.config import DecoderConfig
from trueformer.nn.cache import KVCache
from trueformer.nn.flex import flex_attend
from trueformer.nn.norms import RMSNorm
from trueformer.nn.plain import Backend, plain_attention
from trueformer.nn.rotary import Rotation, apply_rotary
from trueformer.nn.short import short_attention, suits_short
from trueformer.nn.slots import Ragged, SlotCache

# True where a query may see a key (B or 1, T, S), or the same in blocks, or by slots of a cache.
Mask = Bool[Tensor, "#B T S"] | BlockMask | Ragged
Cache = KVCache | SlotCache


def attend(
    q_BTNH: Float[Tensor, "B T N H"],
    k_BSKH: Float[Tensor, "_ S K H"],
    v_BSKH: Float[Tensor, "_ S K H"],
    mask: Mask | None,
    *,
    scale: float,
    sinks_N: Float[Tensor, "N"] | None = None,
    dropout: float = 0.0,
    backend: Backend = "fast",
) -> Float[Tensor, "B T N H"]:
    """softmax(q·k · scale) v over the allowed keys. No mask: causal if T == S, every key if T == 1."""
    if isinstance(mask, Ragged):
        return _attend_by_slot(q_BTNH, k_BSKH, v_BSKH, mask, scale=scale, sinks_N=sinks_N, backend=backend)
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


def _attend_by_slot(
    q_1TNH: Tensor, k_BSKH: Tensor, v_BSKH: Tensor, ragged: Ragged, **options: Any
) -> Float[Tensor, "1 T N H"]:
    """The same for tokens of several slots one behind the other, each over its own slot's keys alone."""
    parts = []
    for span, mask in zip(ragged.spans, ragged.masks, strict=True):
        k_1SKH, v_1SKH = (x[span.slot, : span.n_keys][None] for x in (k_BSKH, v_BSKH))
        parts.append(attend(q_1TNH[:, span.begin : span.end], k_1SKH, v_1SKH, mask, **options))
    return torch.cat(parts, dim=1)


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


class Attention(nn.Module):
    """One attention layer. `layer` says which part of a cache is its own."""

    def __init__(self, config: DecoderConfig, layer: int, *, backend: Backend = "fast") -> None:
        super().__init__()
        N, K, H = config.n_heads, config.n_kv_heads, config.head_dim
        assert K is not None
        assert H is not None
        self.layer, self.backend, self.dropout = layer, backend, config.dropout
        self.n_heads, self.n_kv_heads, self.head_dim = N, K, H
        self.rope_layout = config.rope_layout
        self.q = nn.Linear(config.d_model, N * H, bias=config.attention_bias)
        self.k = nn.Linear(config.d_model, K * H, bias=config.attention_bias)
        self.v = nn.Linear(config.d_model, K * H, bias=config.attention_bias)
        self.out = nn.Linear(N * H, config.d_model, bias=config.attention_bias)
        self.q_norm = RMSNorm(H, config.norm_eps, backend=backend) if config.qk_norm else None
        self.k_norm = RMSNorm(H, config.norm_eps, backend=backend) if config.qk_norm else None
        self.sinks = nn.Parameter(torch.zeros(N)) if config.attention_sinks else None

    def forward(
        self,
        x_BTD: Float[Tensor, "B T D"],
        *,
        rotation: Rotation | None,
        mask: Mask | None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Mix tokens. No mask: causal (see `attend`). The cache is written, never advanced."""
        B, T, _ = x_BTD.shape
        q_BTNH = self.q(x_BTD).view(B, T, self.n_heads, self.head_dim)
        k_BTKH = self.k(x_BTD).view(B, T, self.n_kv_heads, self.head_dim)
        v_BTKH = self.v(x_BTD).view(B, T, self.n_kv_heads, self.head_dim)
        if self.q_norm is not None and self.k_norm is not None:
            q_BTNH, k_BTKH = self.q_norm(q_BTNH), self.k_norm(k_BTKH)
        if rotation is not None:
            q_BTNH = apply_rotary(q_BTNH, rotation, self.rope_layout, self.backend)
            k_BTKH = apply_rotary(k_BTKH, rotation, self.rope_layout, self.backend)
        k_BSKH, v_BSKH = (k_BTKH, v_BTKH) if cache is None else cache.write(self.layer, k_BTKH, v_BTKH)
        y_BTNH = attend(
            q_BTNH,
            k_BSKH,
            v_BSKH,
            mask,
            scale=self.head_dim**-0.5,
            sinks_N=self.sinks,
            dropout=self.dropout if self.training else 0.0,
            backend=self.backend,
        )
        return self.out(y_BTNH.reshape(B, T, self.n_heads * self.head_dim))
