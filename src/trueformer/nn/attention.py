"""Causal self-attention: multi-head, grouped-query or multi-query; QK-norm, rotary positions, sinks, a cache.

Which keys may be seen is decided once a forward pass by the model, in `nn/masks.py`, not here. Leaves out
cross-attention.

Shapes: B batch, T query length, D d_model, N query heads, K key/value heads, H head_dim.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trueformer.models.config import DecoderConfig
from trueformer.nn.attend import Mask, attend
from trueformer.nn.cache import KVCache
from trueformer.nn.norms import RMSNorm
from trueformer.nn.plain import Backend
from trueformer.nn.rotary import Rotation, apply_rotary
from trueformer.nn.slots import SlotCache

Cache = KVCache | SlotCache


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
        options = {
            "scale": self.head_dim**-0.5,
            "sinks_N": self.sinks,
            "dropout": self.dropout if self.training else 0.0,
            "backend": self.backend,
        }
        if cache is None:
            y_BTNH = attend(q_BTNH, k_BTKH, v_BTKH, mask, **options)
        else:
            y_BTNH = cache.attend(self.layer, q_BTNH, k_BTKH, v_BTKH, mask, **options)
        return self.out(y_BTNH.reshape(B, T, self.n_heads * self.head_dim))
