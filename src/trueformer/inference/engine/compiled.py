"""The engine's usual pass, one token for each of several slots, compiled: weights frozen into the code.

Everything but attention is one graph with constant shapes, so it is compiled once for one row and once for
all slots; fewer rows are filled up with tokens for a slot that nobody has. Attention goes slot by slot over
the keys that are there, by the same function as uncompiled, as one operation to the compiler. Compiling takes
from half a minute to two for 30 layers. A snapshot: weights changed afterwards are not seen.

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
from trueformer.nn.slots import SlotCache


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
        lengths, spare = self._cache.lengths, [0] * (width - n)
        rows.slot_N.copy_(torch.tensor([*slots, *[self._spare] * len(spare)]))
        rows.position_N.copy_(torch.tensor([*(lengths[slot] for slot in slots), *spare]))
        logits_NV = step(torch.tensor([[*ids, *spare]], device=self._device))[:n]
        for slot in slots:
            lengths[slot] += 1
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
        with inductor.patch(CPU_OPTIONS if self._device.type == "cpu" else {}):
            compiled(torch.zeros(1, n, dtype=torch.long, device=self._device))
        return rows, compiled


class _OneEach(SlotCache):
    """A cache's slots in a pass that brings one token to each of n of them, named by tensors of its own."""

    def __init__(self, cache: SlotCache, n: int) -> None:
        self.keys, self.values, self.window = cache.keys, cache.values, cache.window
        self.slot_N = torch.full((n,), cache.n_slots - 1, device=cache.keys[0].device)
        self.position_N = torch.zeros_like(self.slot_N)

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
        y_NQH = _attend_one_each(
            q_1NQH[0],
            k_1NKH[0],
            v_1NKH[0],
            self.keys[layer],
            self.values[layer],
            self.slot_N,
            self.position_N,
            options["scale"],
            self.window,
            options["sinks_N"],
        )
        return y_NQH[None]


@torch.library.custom_op("trueformer::attend_one_each", mutates_args=("keys", "values"))
def _attend_one_each(
    q_NQH: Tensor,
    k_NKH: Tensor,
    v_NKH: Tensor,
    keys: Tensor,
    values: Tensor,
    slot_N: Tensor,
    position_N: Tensor,
    scale: float,
    window: int | None,
    sinks_Q: Tensor | None,
) -> Tensor:
    """Store a key and a value a row in its slot, and attend to all that the slot then holds."""
    keys.index_put_((slot_N, position_N), k_NKH)
    values.index_put_((slot_N, position_N), v_NKH)
    y_NQH = torch.empty_like(q_NQH)
    places = zip(slot_N.tolist(), position_N.tolist(), strict=True)
    for row, (slot, position) in enumerate(places):
        seen = slice(0 if window is None else max(0, position + 1 - window), position + 1)
        q_11QH, k_1SKH, v_1SKH = q_NQH[row][None, None], keys[slot, seen][None], values[slot, seen][None]
        y_NQH[row] = attend(q_11QH, k_1SKH, v_1SKH, None, scale=scale, sinks_N=sinks_Q)[0, 0]
    return y_NQH


@_attend_one_each.register_fake
def _(q_NQH, k_NKH, v_NKH, keys, values, slot_N, position_N, scale, window, sinks_Q) -> Tensor:
    return torch.empty_like(q_NQH)
