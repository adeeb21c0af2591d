"""Attention over short texts by batched matrix products, for training in bfloat16 on a CPU.

There the fused kernel's backward pass is far from the speed of a matrix product: forward and backward
together take it 2 to 3 times as long as this at 256 tokens, compiled. Chunks of queries meet only the keys up
to their own end, which skips most of what causality hides. The exponentials stay in memory for the backward
pass, once, in bfloat16: so this is for texts of up to `LONGEST` tokens. Their sums divide the output, which
is smaller than the weights are. Scores are rounded to bfloat16 once more than in the fused kernel.

Shapes: B batch, T length, N query heads, K key/value heads, G = N / K, H head_dim, C queries of a chunk, S
keys that they may see, Z = B·K, R = G·C rows.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trueformer.nn.dropout import keep

CHUNK = 128
LONGEST = 512


def suits_short(q_BNTH: Tensor, k_BKSH: Tensor) -> bool:
    """Whether these queries and keys should go through `short_attention`."""
    T = q_BNTH.shape[2]
    training = torch.is_grad_enabled() and q_BNTH.requires_grad
    bf16_on_cpu = q_BNTH.device.type == "cpu" and q_BNTH.dtype == torch.bfloat16
    return bf16_on_cpu and training and 1 < T <= LONGEST and k_BKSH.shape[2] == T


def short_attention(
    q_BNTH: Float[Tensor, "B N T H"],
    k_BKTH: Float[Tensor, "B K T H"],
    v_BKTH: Float[Tensor, "B K T H"],
    allowed_BTT: Bool[Tensor, "#B T T"] | None,
    *,
    scale: float,
    dropout: float = 0.0,
) -> Float[Tensor, "B N T H"]:
    """softmax(q·k · scale) v over the allowed keys, none later than the query. No mask: all earlier ones."""
    B, N, T, H = q_BNTH.shape
    K = k_BKTH.shape[1]
    q_BKGTH = q_BNTH.reshape(B, K, N // K, T, H)
    k_ZTH, v_ZTH = k_BKTH.reshape(B * K, T, H), v_BKTH.reshape(B * K, T, H)
    pieces = []
    for start in range(0, T, CHUNK):
        end = min(start + CHUNK, T)
        q_BKGCH = q_BKGTH[:, :, :, start:end]
        q_ZRH = q_BKGCH.reshape(B * K, -1, H)
        allowed = None if allowed_BTT is None else allowed_BTT[:, None, None, start:end, :end]
        keep_ZRS = keep((*q_ZRH.shape[:2], end), dropout, q_ZRH.dtype) if dropout else None
        y_ZRH = _Chunk.apply(
            q_ZRH, k_ZTH[:, :end], v_ZTH[:, :end], allowed, keep_ZRS, scale, q_BKGCH.shape[:4]
        )
        pieces.append(y_ZRH.view(q_BKGCH.shape))
    return torch.cat(pieces, dim=3).view(B, N, T, H)


class _Chunk(torch.autograd.Function):
    """softmax(q·k · scale) v of some queries, the last of which is at the last key.

    With E the exponentials and l their sums: y = E v / l. From dy, with dn = dy / l:
    dv = Eᵀ dn, and the scores' gradient is E · (dn vᵀ - Σ dn y).
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_ZRH: Tensor,
        k_ZSH: Tensor,
        v_ZSH: Tensor,
        allowed: Tensor | None,
        keep_ZRS: Tensor | None,
        scale: float,
        shape: tuple[int, int, int, int],
    ) -> Tensor:
        """The output of the chunk; `shape` is (B, K, G, C), `keep_ZRS` what dropout multiplies with."""
        S = k_ZSH.shape[1]
        scores = torch.bmm(q_ZRH, k_ZSH.transpose(1, 2)).view(*shape, S).float() * scale
        if allowed is None:
            keys = torch.arange(S, device=q_ZRH.device)
            allowed = keys <= keys[-shape[-1] :, None]
        scores = torch.where(allowed, scores, float("-inf"))
        E_ZRS = (scores - scores.amax(-1, keepdim=True)).exp().to(v_ZSH.dtype).view(-1, q_ZRH.shape[1], S)
        l_ZR1 = E_ZRS.float().sum(-1, keepdim=True)
        dropped = E_ZRS if keep_ZRS is None else E_ZRS * keep_ZRS
        y_ZRH = (torch.bmm(dropped, v_ZSH) / l_ZR1).to(v_ZSH.dtype)
        ctx.save_for_backward(q_ZRH, k_ZSH, v_ZSH, E_ZRS, l_ZR1, y_ZRH, keep_ZRS)
        ctx.scale = scale
        return y_ZRH

    @staticmethod
    def backward(ctx: Any, dy_ZRH: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients of queries, keys and values."""
        q_ZRH, k_ZSH, v_ZSH, E_ZRS, l_ZR1, y_ZRH, keep_ZRS = ctx.saved_tensors
        dn_ZRH = dy_ZRH / l_ZR1
        mean_ZR1 = (dn_ZRH * y_ZRH).sum(-1, keepdim=True)
        dn_ZRH = dn_ZRH.to(v_ZSH.dtype)
        dE_ZRS, dropped = torch.bmm(dn_ZRH, v_ZSH.transpose(1, 2)).float(), E_ZRS
        if keep_ZRS is not None:
            dE_ZRS, dropped = dE_ZRS * keep_ZRS, E_ZRS * keep_ZRS
        ds_ZRS = (E_ZRS * (dE_ZRS - mean_ZR1) * ctx.scale).to(q_ZRH.dtype)
        dq_ZRH, dk_ZSH = torch.bmm(ds_ZRS, k_ZSH), torch.bmm(ds_ZRS.transpose(1, 2), q_ZRH)
        return dq_ZRH, dk_ZSH, torch.bmm(dropped.transpose(1, 2), dn_ZRH), None, None, None, None
