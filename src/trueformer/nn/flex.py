"""FlexAttention: fused attention that skips the blocks of keys a window or a document boundary hides.

Used on CUDA only, for masks without a cache and without dropout. On a CPU its compiled backward does not
exist and its eager form is slow, so a boolean mask for `scaled_dot_product_attention` is the fast path there;
the tests run this file's eager form against the written-out twin.

Shapes: B batch, T length, N query heads, K key/value heads, H head_dim.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import (
    AuxRequest,
    BlockMask,
    and_masks,
    create_block_mask,
    flex_attention,
    or_masks,
)

_compiled_flex_attention = torch.compile(flex_attention)


def suits_flex(device: torch.device, *, dropout: bool) -> bool:
    """Whether masks on this device should be block masks."""
    return device.type == "cuda" and not dropout


def block_mask(
    T: int,
    device: torch.device,
    *,
    window: int | None = None,
    key_valid_BS: Bool[Tensor, "B T"] | None = None,
    document_BT: Int[Tensor, "B T"] | None = None,
) -> BlockMask:
    """The same rule as `attention_mask`, for a text that starts at slot 0, as blocks."""

    rules = [lambda b, h, t, s: s <= t]
    if window is not None:
        rules.append(lambda b, h, t, s: t - s < window)
    if document_BT is not None:
        rules.append(lambda b, h, t, s: document_BT[b, t] == document_BT[b, s])
    if key_valid_BS is not None:
        rules.append(lambda b, h, t, s: key_valid_BS[b, s])
    allowed = and_masks(*rules)
    if key_valid_BS is not None:
        allowed = or_masks(allowed, lambda b, h, t, s: s == t)
    by_row = document_BT if document_BT is not None else key_valid_BS
    return create_block_mask(allowed, None if by_row is None else len(by_row), None, T, T, device=str(device))


def flex_attend(
    q_BTNH: Float[Tensor, "B T N H"],
    k_BTKH: Float[Tensor, "B T K H"],
    v_BTKH: Float[Tensor, "B T K H"],
    mask: BlockMask,
    *,
    scale: float,
    sinks_N: Float[Tensor, "N"] | None = None,
) -> Float[Tensor, "B T N H"]:
    """softmax(q·k · scale) v over the mask's keys; a sink takes its odds against all of them together."""
    run = _compiled_flex_attention if q_BTNH.device.type == "cuda" else flex_attention
    q, k, v = (x.transpose(1, 2) for x in (q_BTNH, k_BTKH, v_BTKH))
    y_BNTH, aux = run(
        q,
        k,
        v,
        block_mask=mask,
        scale=scale,
        enable_gqa=k.shape[1] != q.shape[1],
        return_aux=AuxRequest(lse=sinks_N is not None),
    )
    if sinks_N is not None:
        assert aux.lse is not None
        kept_BNT = torch.sigmoid(aux.lse - sinks_N.float()[:, None])
        y_BNTH = (y_BNTH * kept_BNT[..., None]).to(q_BTNH.dtype)
    return y_BNTH.transpose(1, 2)
