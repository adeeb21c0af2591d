"""Attention over short texts by batched matrix products, for training in bfloat16 on a CPU.

There the fused kernel's backward pass is far from the speed of a matrix product: forward and backward
together take it 1.6 to 2 times as long as this at 256 tokens, compiled, and 2.5 times at 64. Chunks of
queries meet only the keys up to their own end, which skips most of what causality hides. Each chunk's weights
stay in memory for the backward pass, so this is for texts of up to `LONGEST` tokens. Scores are rounded to
bfloat16 once more than in the fused kernel.

Shapes: B batch, T length, N query heads, K key/value heads, G = N / K, H head_dim.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

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
    k, v = k_BKTH.reshape(B * K, T, H), v_BKTH.reshape(B * K, T, H)
    pieces = []
    for start in range(0, T, CHUNK):
        end = min(start + CHUNK, T)
        if allowed_BTT is None:
            seen = torch.ones(end - start, end, dtype=torch.bool, device=q_BNTH.device).tril(start)
        else:
            seen = allowed_BTT[:, None, None, start:end, :end]
        q = q_BKGTH[:, :, :, start:end].reshape(B * K, -1, H)
        scores = torch.bmm(q, k[:, :end].transpose(1, 2)).view(B, K, N // K, end - start, end)
        weights = torch.softmax((scores.float() * scale).masked_fill(~seen, float("-inf")), dim=-1)
        weights = F.dropout(weights, dropout).to(v.dtype).view(B * K, -1, end)
        pieces.append(torch.bmm(weights, v[:, :end]).view(B, K, N // K, end - start, H))
    return torch.cat(pieces, dim=3).view(B, N, T, H)
