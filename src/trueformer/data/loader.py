"""Tokens to batches of (inputs, targets): rows of `seq_len` tokens, targets the same tokens one step later.

Training: the tokens are a ring. Each epoch starts at a place of its own on the ring, cuts it into rows from
there and shuffles them; place and shuffle are a function of (seed, epoch), so (seed, epoch, cursor) is the
whole state. The cursor counts rows over all ranks: a resumed run may have another number of ranks or rows a
batch. Every row of an epoch is used once, and the fewer than `seq_len` tokens left over are others each
epoch.

Validation: rows in order from the first token, each a target once, never shuffled, the last batch padded.

Leaves out devices and prefetching: cutting a batch takes microseconds a row.

Shapes: B rows, T seq_len.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from trueformer.data.token_set import TokenSet

IGNORE = -100  # a target nothing is predicted for; what torch's cross-entropy ignores


class Batch(NamedTuple):
    """Rows of tokens and, for each, the one that follows; `document_BT` numbers the documents of a row."""

    inputs_BT: Int[Tensor, "B T"]
    targets_BT: Int[Tensor, "B T"]  # int64, which cross-entropy asks for
    document_BT: Int[Tensor, "B T"] | None


class TrainLoader:
    """Endless batches of `batch_size` rows for this rank. Ranks get disjoint rows of one global order.

    Raises:
        ValueError: a size below 1, a rank outside the world, or fewer rows than one batch of all ranks.
    """

    def __init__(
        self,
        tokens: TokenSet,
        *,
        batch_size: int,
        seq_len: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        document_mask: bool = False,
    ) -> None:
        check_sizes(batch_size, seq_len, rank, world_size)
        self.n_rows = tokens.n_tokens // seq_len  # rows an epoch
        self._global_batch = batch_size * world_size
        needed = max(self._global_batch * seq_len, seq_len + 1)
        if tokens.n_tokens < needed:
            raise ValueError(
                f"the training split has {tokens.n_tokens:,} tokens: expected at least {needed:,}, one batch "
                f"of {self._global_batch} rows of {seq_len}; give more text, or lower seq_len or batch_size"
            )
        self._tokens, self._batch_size, self._seq_len = tokens, batch_size, seq_len
        self._rank, self._document_mask = rank, document_mask
        self.seed, self.epoch, self.cursor = seed, 0, 0
        self._orders: dict[tuple[int, int], np.ndarray] = {}

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        first = self.cursor + self._rank * self._batch_size
        starts = [self._start(first + i) for i in range(self._batch_size)]
        rows = np.stack([self._tokens.window(start, self._seq_len + 1) for start in starts])
        later, self.cursor = divmod(self.cursor + self._global_batch, self.n_rows)
        self.epoch += later
        return _batch(rows[:, :-1], rows[:, 1:], self._tokens.bos_id, self._document_mask)

    def state_dict(self) -> dict[str, int]:
        """The place in the data: three integers."""
        return {"seed": self.seed, "epoch": self.epoch, "cursor": self.cursor}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved place.

        Raises:
            ValueError: not the three integers, or a cursor beyond this data's rows.
        """
        self.seed, self.epoch, self.cursor = load_place(state, self.n_rows)

    def _start(self, row: int) -> int:
        """The token at which the row `row` places into this epoch (or the next) starts."""
        later, index = divmod(row, self.n_rows)
        return int(self._order(self.epoch + later)[index])

    def _order(self, epoch: int) -> np.ndarray:
        key = (self.seed, epoch)
        if key not in self._orders:
            rng = np.random.default_rng(key)
            place = rng.integers(self._tokens.n_tokens)
            self._orders = {k: v for k, v in self._orders.items() if k == (self.seed, epoch - 1)}
            self._orders[key] = (place + rng.permutation(self.n_rows) * self._seq_len) % self._tokens.n_tokens
        return self._orders[key]


def validation_batches(
    tokens: TokenSet,
    *,
    batch_size: int,
    seq_len: int,
    rank: int = 0,
    world_size: int = 1,
    document_mask: bool = False,
) -> Iterator[Batch]:
    """All tokens but the first as targets, once each, in order; every rank gets equally many batches.

    Rows and batches beyond the data hold BOS as inputs and IGNORE as targets, so that all have one shape and
    ranks stay in step.

    Raises:
        ValueError: a size below 1, a rank outside the world, or fewer than two tokens.
    """
    check_sizes(batch_size, seq_len, rank, world_size)
    if tokens.n_tokens < 2:
        raise ValueError(
            f"the validation split has {tokens.n_tokens} tokens: expected at least 2, one to read and one to "
            "predict; give more text or a larger val_fraction"
        )
    return _validation_batches(tokens, batch_size, seq_len, rank, world_size, document_mask)


def _validation_batches(
    tokens: TokenSet, batch_size: int, seq_len: int, rank: int, world_size: int, document_mask: bool
) -> Iterator[Batch]:
    n_targets, size = tokens.n_tokens - 1, batch_size * seq_len
    for begin in range(
        rank * size, -(-n_targets // (size * world_size)) * size * world_size, size * world_size
    ):
        inputs = np.full(size, tokens.bos_id, dtype=np.int64)
        targets = np.full(size, IGNORE, dtype=np.int64)
        real = min(size, max(0, n_targets - begin))
        if real:
            ids = tokens.window(begin, real + 1)
            inputs[:real], targets[:real] = ids[:-1], ids[1:]
        shape = (batch_size, seq_len)
        yield _batch(inputs.reshape(shape), targets.reshape(shape), tokens.bos_id, document_mask)


def _batch(inputs: np.ndarray, targets: np.ndarray, bos_id: int, document_mask: bool) -> Batch:
    documents = torch.from_numpy(np.cumsum(inputs == bos_id, axis=1)) if document_mask else None
    return Batch(
        torch.from_numpy(np.ascontiguousarray(inputs)),
        torch.from_numpy(np.ascontiguousarray(targets)),
        documents,
    )


def load_place(state: dict[str, int], n_rows: int) -> tuple[int, int, int]:
    """Seed, epoch and cursor of a saved place.

    Raises:
        ValueError: not the three integers, or a cursor beyond this data's rows.
    """
    if set(state) != {"seed", "epoch", "cursor"} or any(type(v) is not int for v in state.values()):
        raise ValueError(f"loader state is {state}: expected three integers seed, epoch and cursor")
    if state["epoch"] < 0 or not 0 <= state["cursor"] < n_rows:
        raise ValueError(
            f"loader state is {state}: expected a cursor from 0 to {n_rows - 1} (rows an epoch); "
            "was it saved with other data or another seq_len?"
        )
    return state["seed"], state["epoch"], state["cursor"]


def check_sizes(batch_size: int, seq_len: int, rank: int, world_size: int) -> None:
    """Raise ValueError for a size below 1 or a rank outside the world."""
    for name, value in (("batch_size", batch_size), ("seq_len", seq_len), ("world_size", world_size)):
        if value < 1:
            raise ValueError(f"{name} is {value}: expected a whole number of at least 1")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank}: expected 0 to {world_size - 1}, one of {world_size} processes")
