"""Which keys a query may see: causality, a window, padding and documents, as one boolean mask.

Leaves out additive biases. Every query sees at least its own slot, so that no softmax is over nothing and
padding stays finite; what padding holds is never seen by a real token.

Shapes: B batch, T query length, S key length.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def positions_within(
    ids_BT: Int[Tensor, "B T"],
    document_BT: Int[Tensor, "B T"] | None,
    key_valid_BS: Bool[Tensor, "B T"] | None,
) -> Int[Tensor, "B T"]:
    """How many valid tokens of the same document came before each token: the position it would have alone.

    Example: documents [7, 7, 9, 9] give [0, 1, 0, 1]; valid [F, F, T, T] gives [0, 0, 0, 1].
    """
    real_BT = torch.ones_like(ids_BT) if key_valid_BS is None else key_valid_BS.long()
    before_BT = real_BT.cumsum(-1) - real_BT
    if document_BT is None:
        return before_BT
    starts_BT = torch.ones_like(document_BT, dtype=torch.bool)
    starts_BT[:, 1:] = document_BT[:, 1:] != document_BT[:, :-1]
    return before_BT - before_BT.masked_fill(~starts_BT, 0).cummax(-1).values


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

    That is s <= t; with a window also t - s < window; s not before its row's start; key s valid; both of one
    document.
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
