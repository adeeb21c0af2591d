"""Forward passes of decoding: a prompt at once, then one token a row, over one key/value cache.

`Steps` is what generation asks for. `EagerSteps` runs the model as it is; `compiled.CompiledDecoder` is the
fast one. Rows of unequal length are padded on the left, and the cache knows by how much, so no token sees or
counts padding. Leaves out sampling and stopping (`generate.py`).

Shapes: B batch, T prompt length, V vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache


@runtime_checkable
class Steps(Protocol):
    """A model and its cache, as generation sees them."""

    config: DecoderConfig

    @property
    def device(self) -> torch.device:
        """Where ids go in and logits come out."""
        ...

    def refuse(self, n_rows: int, length: int) -> None:
        """Raise ValueError where so many rows, growing to so many tokens, do not fit."""
        ...

    def prefill(self, rows: Sequence[Sequence[int]], length: int) -> Float[Tensor, "B V"]:
        """Start afresh with these rows, to grow to `length` slots; logits of the token after each row."""
        ...

    def decode(self, tokens_B: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
        """Append one token to each row; logits of the token after it."""
        ...

    def full(self) -> bool:
        """Whether the cache has no slot left for another token."""
        ...


class EagerSteps(Steps):
    """The model as it is, with a cache made for each batch."""

    def __init__(self, model: DecoderLM) -> None:
        self.model, self.config = model, model.config

    @property
    def device(self) -> torch.device:
        return self.model.embedding.weight.device

    def refuse(self, n_rows: int, length: int) -> None:
        """Any number of rows fits; their length is checked against max_len by the caller."""

    def prefill(self, rows: Sequence[Sequence[int]], length: int) -> Float[Tensor, "B V"]:
        """Start afresh with these rows in a new cache of `length` slots; logits of the token after each."""
        ids_BT, start_B = left_padded(rows, self.device)
        self.cache = KVCache(
            self.config,
            len(rows),
            length,
            start_B=start_B,
            dtype=self.model.embedding.weight.dtype,
            device=self.device,
        )
        return last_logits(self.model, ids_BT, self.cache)

    def decode(self, tokens_B: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
        return last_logits(self.model, tokens_B[:, None], self.cache)

    def full(self) -> bool:
        return self.cache.length == self.cache.max_len


def left_padded(
    rows: Sequence[Sequence[int]], device: torch.device | str
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B"] | None]:
    """Rows as one tensor, zeros in front of the shorter ones, and how many (None: all are of one length).

    Example: [[5, 6], [7]] gives [[5, 6], [0, 7]] and [0, 1].
    """
    longest = max(len(row) for row in rows)
    ids_BT = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=device)
    if all(len(row) == longest for row in rows):
        return ids_BT, None
    return ids_BT, torch.tensor([longest - len(row) for row in rows], device=device)


def last_logits(model: DecoderLM, ids_BT: Int[Tensor, "B T"], cache: KVCache) -> Float[Tensor, "B V"]:
    """Logits after the last token of each row; the other positions' are never made."""
    return model.logits(model.hidden(ids_BT, cache=cache)[:, -1])
