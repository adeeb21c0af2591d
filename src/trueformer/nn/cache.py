"""The key/value cache: preallocated, with one position, advanced by the model once a forward pass.

`KVCache` keeps its length as a Python number and shows attention only the slots that are filled: for eager
code. `StaticKVCache` keeps it as a tensor and shows every slot, leaving the rest to a mask, so that a
compiled decoding step has the same shapes at every token and is compiled once.

Rows of unequal length are padded on the left: row b's first `start_B[b]` slots are padding, never attended
to, and the token in slot s has position s - start_B[b]. Leaves out paging and eviction.

Shapes: B batch, T new tokens, S slots, K key/value heads, H head_dim.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trueformer.models.config import DecoderConfig
from trueformer.nn.attend import Mask, attend
from trueformer.nn.masks import attention_mask


class KVCache:
    """Keys and values of each layer, (B, K, S, H), filled up to `length`.

    Raises:
        ValueError: max_len beyond the model's, or start_B of the wrong shape.
    """

    def __init__(
        self,
        config: DecoderConfig,
        batch_size: int,
        max_len: int,
        *,
        start_B: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 1 <= max_len <= config.max_len:
            raise ValueError(
                f"cache max_len is {max_len}: expected 1 to the model's max_len = {config.max_len}; "
                "ask for fewer tokens or a model trained at a greater length"
            )
        if start_B is not None and start_B.shape != (batch_size,):
            raise ValueError(f"start_B has shape {tuple(start_B.shape)}: expected ({batch_size},), one a row")
        self.batch_size, self.max_len = batch_size, max_len
        self.start_B = None if start_B is None else start_B.to(device)
        assert config.n_kv_heads is not None
        assert config.head_dim is not None
        shape = (batch_size, config.n_kv_heads, max_len, config.head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]
        self._clear()

    def _clear(self) -> None:
        self.length = 0

    def reset(self, start_B: Tensor | None = None) -> None:
        """Forget everything; the memory is kept and used again. `start_B`: the next batch's left padding."""
        self.start_B = None if start_B is None else start_B.to(self.keys[0].device)
        self._clear()

    def slots(self, T: int) -> Int[Tensor, "T"]:
        """The slots that the next T tokens take."""
        return torch.arange(self.length, self.length + T, device=self.keys[0].device)

    def n_keys(self, T: int) -> int:
        """How many slots attention sees while the next T tokens are written."""
        return self.length + T

    def check(self, B: int, T: int) -> None:
        """Raise ValueError where ids of shape (B, T) do not fit."""
        if self.batch_size != B:
            raise ValueError(
                f"{B} rows of ids for a cache of {self.batch_size} rows: make a cache for this batch"
            )
        # A static cache's length is on the device; its caller counts (see `StaticKVCache`).
        if not torch.compiler.is_compiling() and self.length + T > self.max_len:
            raise ValueError(
                f"{T} tokens after the cache's {self.length}: expected at most its max_len = {self.max_len} "
                "in all; make a longer cache, or reset it"
            )

    def mask(self, T: int, window: int | None) -> Bool[Tensor, "#B T S"] | None:
        """What the next T tokens may see; None where kernels need no mask."""
        if self._plainly_causal(T) and (window is None or window >= self.n_keys(T)):
            return None
        return attention_mask(self.slots(T), self.n_keys(T), start_B=self.start_B, window=window)

    def _plainly_causal(self, T: int) -> bool:
        """Whether the next T tokens see all slots shown but the ones after them, with no mask to say so."""
        return self.start_B is None and (self.length == 0 or T == 1)

    def attend(
        self,
        layer: int,
        q_BTNH: Float[Tensor, "B T N H"],
        k_BTKH: Float[Tensor, "B T K H"],
        v_BTKH: Float[Tensor, "B T K H"],
        mask: Mask | None,
        **options: Any,
    ) -> Float[Tensor, "B T N H"]:
        """Store the new tokens' keys and values, and let their queries attend to all; options of `attend`."""
        return attend(q_BTNH, *self.write(layer, k_BTKH, v_BTKH), mask, **options)

    def write(
        self, layer: int, k_BTKH: Float[Tensor, "B T K H"], v_BTKH: Float[Tensor, "B T K H"]
    ) -> tuple[Float[Tensor, "B S K H"], Float[Tensor, "B S K H"]]:
        """Store the new tokens' keys and values; return all that attention sees. Does not advance."""
        end = self.length + k_BTKH.shape[1]
        keys, values = self.keys[layer], self.values[layer]
        keys[:, :, self.length : end] = k_BTKH.transpose(1, 2)
        values[:, :, self.length : end] = v_BTKH.transpose(1, 2)
        return keys[:, :, :end].transpose(1, 2), values[:, :, :end].transpose(1, 2)

    def advance(self, T: int) -> None:
        """Count T more tokens, after all layers have written theirs."""
        self.length += T


class StaticKVCache(KVCache):
    """The same with the length in a tensor, `position`, and constant shapes: for `torch.compile`.

    Nothing checks for overflow inside a compiled step (that would wait for the device); the caller counts
    tokens, and a write past the end raises IndexError or an assertion of the compiled kernel.
    """

    position: Tensor

    def _clear(self) -> None:
        if hasattr(self, "position"):
            self.position.zero_()
        else:
            self.position = torch.zeros((), dtype=torch.long, device=self.keys[0].device)

    @property
    def length(self) -> int:  # type: ignore[override]
        """The number of filled slots. Waits for the device."""
        return int(self.position)

    def slots(self, T: int) -> Int[Tensor, "T"]:
        return self.position + torch.arange(T, device=self.position.device)

    def n_keys(self, T: int) -> int:
        return self.max_len

    def _plainly_causal(self, T: int) -> bool:
        return False

    def write(
        self, layer: int, k_BTKH: Float[Tensor, "B T K H"], v_BTKH: Float[Tensor, "B T K H"]
    ) -> tuple[Float[Tensor, "B S K H"], Float[Tensor, "B S K H"]]:
        slots_T = self.slots(k_BTKH.shape[1])
        keys, values = self.keys[layer], self.values[layer]
        keys.index_copy_(2, slots_T, k_BTKH.transpose(1, 2).to(keys.dtype))
        values.index_copy_(2, slots_T, v_BTKH.transpose(1, 2).to(values.dtype))
        return keys.transpose(1, 2), values.transpose(1, 2)

    def advance(self, T: int) -> None:
        self.position.add_(T)
