"""What a decoder's caller can get wrong, refused with the value, what was expected and the remedy.

Only shapes, dtypes and lengths: nothing here waits for an accelerator. Leaves out finiteness, which the
training loop watches once a step in the loss.

Shapes: B batch, T query length, S key length.
"""

import torch
from torch import Tensor

from trueformer.models.config import DecoderConfig
from trueformer.nn.attention import Cache


def check_inputs(
    config: DecoderConfig,
    ids_BT: Tensor,
    document_BT: Tensor | None,
    key_valid_BS: Tensor | None,
    cache: Cache | None,
) -> None:
    """Refuse what `DecoderLM.hidden` cannot run.

    Raises:
        ValueError: see `DecoderLM.hidden`.
    """
    _check_ids(config, ids_BT)
    _check_length(config, ids_BT, cache)
    _check_mask("document_BT", document_BT, ids_BT, (torch.int32, torch.int64), "one document number a token")
    _check_mask("key_valid_BS", key_valid_BS, ids_BT, (torch.bool,), "True where a token is real")
    if cache is not None and (document_BT is not None or key_valid_BS is not None):
        raise ValueError(
            "document_BT and key_valid_BS do not go with a cache, which cannot remember them: "
            "give the cache start_B, the number of padding tokens on each row's left"
        )


def _check_ids(config: DecoderConfig, ids_BT: Tensor) -> None:
    if ids_BT.dim() != 2 or 0 in ids_BT.shape:
        raise ValueError(
            f"ids have shape {tuple(ids_BT.shape)}: expected (batch, tokens), at least 1 of each; "
            "start an empty prompt with the BOS token"
        )
    if ids_BT.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"ids are {ids_BT.dtype}: expected int32 or int64; convert with .long()")
    # Elsewhere than on the CPU, looking at values would stall the device at every step.
    if ids_BT.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(x) for x in ids_BT.aminmax())
        if low < 0 or high >= config.vocab_size:
            raise ValueError(
                f"ids go from {low} to {high}: expected 0 to {config.vocab_size - 1} (vocab_size - 1); "
                "is this the tokenizer that the model was trained with?"
            )


def _check_length(config: DecoderConfig, ids_BT: Tensor, cache: Cache | None) -> None:
    B, T = ids_BT.shape
    if cache is None and config.max_len < T:
        raise ValueError(
            f"sequence of {T} tokens: expected at most max_len = {config.max_len}; "
            "cut it, or use a model with a greater max_len"
        )
    if cache is not None:
        cache.check(B, T)


def _check_mask(
    name: str, mask: Tensor | None, ids_BT: Tensor, dtypes: tuple[torch.dtype, ...], meaning: str
) -> None:
    if mask is None:
        return
    if mask.shape != ids_BT.shape:
        raise ValueError(
            f"{name} has shape {tuple(mask.shape)}: expected {tuple(ids_BT.shape)}, the shape of the ids, "
            f"{meaning}; masks are never broadcast"
        )
    if mask.dtype not in dtypes:
        raise ValueError(f"{name} is {mask.dtype}: expected {dtypes[-1]}, {meaning}")
