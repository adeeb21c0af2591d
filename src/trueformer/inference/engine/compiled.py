"""The engine's usual pass, one token for each of several slots, compiled: weights frozen into the code.

Everything but attention is one graph with constant shapes, so it is compiled once for one row and once for
all slots, in which rows that nobody has are filled up. Attention, one operation to the compiler, goes over
the longest text's keys, each row's own unmasked. Compiling takes one to two minutes for 30 layers. A
snapshot: weights changed afterwards are not seen.

Shapes: N rows, Q query heads, K key/value heads, H head_dim, S slot length, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch._inductor.config as inductor
from jaxtyping import Float, Int
from torch import Tensor

from trueformer.inference.compiled import CPU_OPTIONS, distinct
from trueformer.models.decoder import DecoderLM
from trueformer.nn.attend import Mask, attend
from trueformer.nn.slots import SlotCache, seen_by_each


class CompiledStep:
    """`step(ids, slots)` appends one token to each of the slots; logits of the token after each.

    `cache` has one slot more than are used: the last, for rows that are filled up.
    """

    def __init__(self, model: DecoderLM, cache: SlotCache) -> None:
        self._model, self._cache = model, cache
        self._spare = cache.n_slots - 1
        self._device = model.embedding.weight.device
        self._passes = {n: self._compile(n) for n in sorted({1, self._spare})}

    def __call__(self, ids: Sequence[int], slots: Sequence[int]) -> Float[Tensor, "N V"]:
        """Append and advance; as many logits as slots."""
        n = len(ids)
        width = min(width for width in self._passes if width >= n)
        rows, step = self._passes[width]
        # In a full pass row i is slot i, so that attention reads the cache as it lies.
        places = [0] if width == 1 else list(slots)
        ids_1N = torch.zeros(1, width, dtype=torch.long)
        slot_N, position_N = torch.full((width,), self._spare), torch.zeros(width, dtype=torch.long)
        ids_1N[0, places] = torch.tensor(ids)
        slot_N[places] = torch.tensor(slots)
        position_N[places] = torch.tensor([self._cache.lengths[slot] for slot in slots])
        rows.place(slot_N, position_N)
        logits_NV = step(ids_1N.to(self._device))[places]
        for slot in slots:
            self._cache.lengths[slot] += 1
        return logits_NV

    def _compile(self, n: int) -> tuple["_OneEach", Callable[[Tensor], Tensor]]:
        model, rows = self._model, _OneEach(self._cache, n)

        def step(ids_1N: Tensor) -> Tensor:
            return model.logits(model.hidden(ids_1N, cache=rows)[0])

        compiled = torch.compile(
            distinct(step),
            fullgraph=True,
            dynamic=False,
            options={"guard_filter_fn": lambda guards: [False] * len(guards)},  # see `inference/compiled.py`
        )
        with inductor.patch(_options(n) if self._device.type == "cpu" else {}):
            compiled(torch.zeros(1, n, dtype=torch.long, device=self._device))
        return rows, compiled


def _options(n: int) -> dict[str, Any]:
    """Inductor's own small-matrix kernels are the quickest for one row, oneDNN's packed weights for more."""
    return CPU_OPTIONS if n == 1 else CPU_OPTIONS | {"max_autotune": False}


class _OneEach(SlotCache):
    """A cache's slots in a pass that brings one token to each of n of them, named by tensors of its own."""

    def __init__(self, cache: SlotCache, n: int) -> None:
        self.keys, self.values, self.window = cache.keys, cache.values, cache.window
        device = cache.keys[0].device
        self.slot_N = torch.full((n,), cache.n_slots - 1, device=device)
        self.position_N = torch.zeros_like(self.slot_N)
        self.seen_N1S = torch.zeros(n, 1, cache.max_len, dtype=torch.bool, device=device)
        self.longest = torch.ones((), dtype=torch.long)

    def place(self, slot_N: Int[Tensor, "N"], position_N: Int[Tensor, "N"]) -> None:
        """Say where the next pass's tokens go."""
        self.slot_N.copy_(slot_N)
        self.position_N.copy_(position_N)
        seen_N1S = seen_by_each(position_N[:, None], self.window)
        self.longest.fill_(seen_N1S.shape[-1])
        self.seen_N1S[..., : seen_N1S.shape[-1]] = seen_N1S

    def slots(self, T: int) -> Int[Tensor, "T"]:
        return self.position_N

    def check(self, B: int, T: int) -> None:
        pass

    def advance(self, T: int) -> None:
        pass

    def attend(
        self,
        layer: int,
        q_1NQH: Float[Tensor, "1 N Q H"],
        k_1NKH: Float[Tensor, "1 N K H"],
        v_1NKH: Float[Tensor, "1 N K H"],
        mask: Mask | None,
        **options: Any,
    ) -> Float[Tensor, "1 N Q H"]:
        """As `SlotCache.attend`, as one operation to the compiler."""
        y_NQH = torch.ops.trueformer.attend_one_each(
            q_1NQH[0],
            k_1NKH[0],
            v_1NKH[0],
            self.keys[layer],
            self.values[layer],
            self.slot_N,
            self.position_N,
            self.seen_N1S,
            self.longest,
            options["scale"],
            options["sinks_N"],
        )
        return y_NQH[None]


def _attend_one_each(
    q_NQH: Tensor,
    k_NKH: Tensor,
    v_NKH: Tensor,
    keys: Tensor,
    values: Tensor,
    slot_N: Tensor,
    position_N: Tensor,
    seen_N1S: Tensor,
    longest: Tensor,
    scale: float,
    sinks_Q: Tensor | None,
) -> Tensor:
    """Store a key and a value a row in its slot; each row attends to what its slot then holds.

    Row i is slot i, or the one row is its one slot. Rows that nobody has write to the spare slot.
    """
    keys.index_put_((slot_N, position_N), k_NKH)
    values.index_put_((slot_N, position_N), v_NKH)
    N, S = len(slot_N), int(longest)
    first = int(slot_N[0]) if N == 1 else 0
    k_NSKH, v_NSKH = keys[first : first + N, :S], values[first : first + N, :S]
    y_N1QH = attend(q_NQH[:, None], k_NSKH, v_NSKH, seen_N1S[..., :S], scale=scale, sinks_N=sinks_Q)
    return y_N1QH[:, 0].contiguous()


# `torch.library.custom_op` would do the same, and take 50 µs longer a layer.
_LIBRARY = torch.library.Library("trueformer", "DEF")
_LIBRARY.define(
    "attend_one_each(Tensor q, Tensor k, Tensor v, Tensor(a!) keys, Tensor(b!) values, Tensor slot, "
    "Tensor position, Tensor seen, Tensor longest, float scale, Tensor? sinks) -> Tensor"
)
_LIBRARY.impl("attend_one_each", _attend_one_each, "CompositeExplicitAutograd")


@torch.library.register_fake("trueformer::attend_one_each", lib=_LIBRARY)
def _(q_NQH, k_NKH, v_NKH, keys, values, slot_N, position_N, seen_N1S, longest, scale, sinks_Q) -> Tensor:
    return torch.empty_like(q_NQH)
