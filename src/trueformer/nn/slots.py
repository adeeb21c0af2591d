"""A key/value cache of independent slots, and forward passes over ragged batches of them.

A serving engine's rows come and go, and each is elsewhere in its text. So the tokens of a pass lie one behind
the other in a single row (1, N), and `plan` says which slot how many of them belong to: one for a sequence
being continued, many for a prompt being read. Linear layers see N tokens; attention goes slot by slot over
exactly the tokens that slot holds, so no padding is ever computed or attended to, and what a slot gets from
attention does not depend on its neighbours. Slots that get about as many tokens attend in one operation
over all slots as they lie; at one token each that takes half the time. A pass can begin slots with what
others hold, even with what they read in this same pass: keys and values are copied layer by layer.

The memory is allocated once. Leaves out which sequence gets a slot (`inference/engine`).

Shapes: N new tokens of all slots, S slot length, Q query heads, K key/value heads, H head_dim.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trueformer.models.config import DecoderConfig
from trueformer.nn.attend import Mask, attend


class Span(NamedTuple):
    """Tokens `begin` to `end` of a pass belong to `slot`, which held `before` tokens."""

    slot: int
    begin: int
    end: int
    before: int

    @property
    def n_keys(self) -> int:
        """How many tokens the slot holds after them."""
        return self.before + self.end - self.begin


class Share(NamedTuple):
    """The first `length` tokens of `target` are those of `source`."""

    source: int
    target: int
    length: int


class SlotCache:
    """Keys and values of each layer, (n_slots, S, K, H); slot i holds `lengths[i]` tokens.

    Raises:
        ValueError: sizes below 1, or slots longer than the model's max_len.
    """

    batch_size = 1
    start_B = None

    def __init__(
        self,
        config: DecoderConfig,
        n_slots: int,
        max_len: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if n_slots < 1:
            raise ValueError(f"n_slots is {n_slots}: expected at least 1")
        if not 1 <= max_len <= config.max_len:
            raise ValueError(
                f"slot length is {max_len}: expected 1 to the model's max_len = {config.max_len}"
            )
        self.n_slots, self.max_len, self.window = n_slots, max_len, config.window
        assert config.n_kv_heads is not None
        assert config.head_dim is not None
        shape = (n_slots, max_len, config.n_kv_heads, config.head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]
        self.lengths = [0] * n_slots
        self._spans: list[Span] = []
        self._shares: Sequence[Share] = ()

    @property
    def nbytes(self) -> int:
        """The memory of all keys and values."""
        return sum(tensor.nbytes for tensor in [*self.keys, *self.values])

    def plan(self, rows: Sequence[tuple[int, int]], shares: Sequence[Share] = ()) -> None:
        """Say which slots the next pass's tokens belong to: (slot, how many), one behind the other.

        What is shared is in its source by the end of the pass, and its target's tokens follow it.

        Raises:
            ValueError: a slot is named twice, or gets more tokens than it has room for.
        """
        if len({slot for slot, _ in rows}) < len(rows):
            raise ValueError(f"slots {[slot for slot, _ in rows]}: expected each once in a pass")
        self._shares = shares
        for share in shares:
            self.lengths[share.target] = share.length
        self._spans, begin = [], 0
        for slot, n in rows:
            span = Span(slot, begin, begin + n, self.lengths[slot])
            if n < 1 or span.n_keys > self.max_len:
                raise ValueError(
                    f"{n} tokens for slot {slot}, which holds {span.before}: expected 1 to "
                    f"{self.max_len - span.before}"
                )
            self._spans.append(span)
            begin = span.end
        device = self.keys[0].device
        slots = [span.slot for span in self._spans for _ in range(span.begin, span.end)]
        positions = [place for span in self._spans for place in range(span.before, span.n_keys)]
        self._slot_N = torch.tensor(slots, device=device)
        self._position_N = torch.tensor(positions, device=device)
        groups = _alike(self._spans, self.n_slots)
        self._together = [_Together(g, self.n_slots, self.window, device) for g in groups if len(g) > 1]
        self._apart = [
            (span, _span_mask(span, self.window, device)) for g in groups if len(g) == 1 for span in g
        ]

    def check(self, B: int, T: int) -> None:
        """Raise ValueError where the ids of a pass are not those planned."""
        planned = self._spans[-1].end if self._spans else 0
        if (1, planned) != (B, T):
            raise ValueError(
                f"ids of shape ({B}, {T}) for a plan of {planned} tokens: expected (1, {planned})"
            )

    def slots(self, T: int) -> Int[Tensor, "T"]:
        """The positions of the planned tokens, each within its own sequence."""
        return self._position_N

    def mask(self, T: int, window: int | None) -> None:
        """None: the plan says what each token may see."""

    def attend(
        self,
        layer: int,
        q_1NQH: Float[Tensor, "1 N Q H"],
        k_1NKH: Float[Tensor, "1 N K H"],
        v_1NKH: Float[Tensor, "1 N K H"],
        mask: Mask | None,
        **options: Any,
    ) -> Float[Tensor, "1 N Q H"]:
        """Store the planned tokens' keys and values; each attends to its own slot's up to itself."""
        keys, values, where = self.keys[layer], self.values[layer], (self._slot_N, self._position_N)
        keys.index_put_(where, k_1NKH[0])
        values.index_put_(where, v_1NKH[0])
        for source, target, length in self._shares:
            keys[target, :length], values[target, :length] = keys[source, :length], values[source, :length]
        y_1NQH = torch.empty_like(q_1NQH)
        for group in self._together:
            group.attend(q_1NQH[0], keys, values, y_1NQH[0], **options)
        for span, allowed in self._apart:
            k_1SKH, v_1SKH = keys[span.slot, : span.n_keys][None], values[span.slot, : span.n_keys][None]
            here = slice(span.begin, span.end)
            y_1NQH[:, here] = attend(q_1NQH[:, here], k_1SKH, v_1SKH, allowed, **options)
        return y_1NQH

    def advance(self, T: int) -> None:
        """Count the planned tokens, after all layers have written theirs."""
        for span in self._spans:
            self.lengths[span.slot] = span.n_keys
        self._spans = []

    def erase(self, slot: int) -> None:
        """Forget all that a slot holds or held: a key that is NaN stays one under any mask."""
        self.lengths[slot] = 0
        for tensor in [*self.keys, *self.values]:
            tensor[slot].zero_()

    def cut(self, slot: int, length: int) -> None:
        """Forget all but the first `length` tokens of a slot; the memory is kept and used again."""
        assert 0 <= length <= self.lengths[slot], "a slot can only be cut shorter"
        self.lengths[slot] = length


def _alike(spans: Sequence[Span], n_slots: int) -> list[list[Span]]:
    """Spans in groups of like length: padded to the longest, a group fills more than half of all slots."""
    rest, groups = sorted(spans, key=lambda span: span.end - span.begin), []
    while rest:
        lengths = [span.end - span.begin for span in rest]
        fit = [n for n in range(2, len(rest) + 1) if 2 * sum(lengths[:n]) > n_slots * lengths[n - 1]]
        n = max(fit, default=1)
        groups.append(rest[:n])
        rest = rest[n:]
    return groups


class _Together:
    """Spans attended to together: row i of the queries is slot i, if any, padded to the longest span."""

    def __init__(self, spans: Sequence[Span], n_slots: int, window: int | None, device: torch.device) -> None:
        T = max(span.end - span.begin for span in spans)
        tokens = [(span, i) for span in spans for i in range(span.end - span.begin)]
        self._where = (
            torch.tensor([span.slot for span, _ in tokens], device=device),
            torch.tensor([i for _, i in tokens], device=device),
        )
        self._places = torch.tensor([span.begin + i for span, i in tokens], device=device)
        self._position_ST = torch.zeros(n_slots, T, dtype=torch.long, device=device)
        positions = [span.before + i for span, i in tokens]
        self._position_ST[self._where] = torch.tensor(positions, device=device)
        self._seen = seen_by_each(self._position_ST, window)

    def attend(self, q_NQH: Tensor, keys: Tensor, values: Tensor, y_NQH: Tensor, **options: Any) -> None:
        """Fill in these spans' rows of y."""
        q_STQH = q_NQH.new_zeros(*self._position_ST.shape, *q_NQH.shape[1:])
        q_STQH[self._where] = q_NQH[self._places]
        longest = self._seen.shape[-1]
        y_STQH = attend(q_STQH, keys[:, :longest], values[:, :longest], self._seen, **options)
        y_NQH[self._places] = y_STQH[self._where]


def seen_by_each(position_NT: Int[Tensor, "N T"], window: int | None) -> Bool[Tensor, "N T S"]:
    """Which keys of its row each query may see, at these positions; S is the longest row."""
    key_S = torch.arange(int(position_NT.max()) + 1, device=position_NT.device)
    seen_NTS = key_S <= position_NT[..., None]
    if window is not None:
        seen_NTS &= position_NT[..., None] - key_S < window
    return seen_NTS


def _span_mask(span: Span, window: int | None, device: torch.device) -> Bool[Tensor, "1 T S"] | None:
    """What a span's queries may see in its slot; None: a whole text at once, or one token after all."""
    T, S = span.end - span.begin, span.n_keys
    if (window is None or window >= S) and (T in (1, S)):
        return None
    query_T1 = torch.arange(span.before, S, device=device)[:, None]
    key_S = torch.arange(S, device=device)
    allowed_TS = key_S <= query_T1
    if window is not None:
        allowed_TS = allowed_TS & (query_T1 - key_S < window)
    return allowed_TS[None]
