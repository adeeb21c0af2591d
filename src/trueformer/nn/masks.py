"""Which keys a query may see: causality, a window, padding and documents, as one boolean mask.

Leaves out additive biases. Every query sees at least its own slot, so that no softmax is over nothing and padding rows
stay finite; what a padding row holds is never seen by a real token.

Shapes: B batch, T query length, S key length.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def attention_mask(
    slots_T: Int[Tensor, "T"],
    n_keys: int,
    *,
    window: int | None = None,
    start_B: Int[Tensor, "B"] | None = None,
    key_valid_BS: Bool[Tensor, "B S"] | None = None,
    document_BT: Int[Tensor, "B T"] | None = None,
) -> Bool[Tensor, "#B T S"]:
    """True where the query in slot t may see the key in slot s.

    That is s <= t; with a window also t - s < window; s at or past its row's start; key s valid; both in one document.
    """
    query_T1, key_S = slots_T[:, None], torch.arange(n_keys, device=slots_T.device)
    allowed_BTS = (key_S <= query_T1)[None]
    if window is not None:
        allowed_BTS = allowed_BTS & (query_T1 - key_S < window)
    if start_B is not None:
        allowed_BTS = allowed_BTS & (key_S >= start_B[:, None, None])
    if key_valid_BS is not None:
        allowed_BTS = allowed_BTS & key_valid_BS[:, None, :]
    if document_BT is not None:
        allowed_BTS = allowed_BTS & (document_BT[:, :, None] == document_BT[:, None, :])
    if start_B is not None or key_valid_BS is not None:
        allowed_BTS = allowed_BTS | (key_S == query_T1)
    return allowed_BTS
