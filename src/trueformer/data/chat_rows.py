"""Conversations as batches: whole ones packed into rows, targets only where the assistant writes.

A conversation of n tokens takes n - 1 places of a row: inputs are all its tokens but the last, targets all
but the first, so nothing is ever predicted across two conversations. `document_BT` keeps them from seeing
each other. Places left over hold padding that predicts nothing. An epoch packs anew: conversations of equal
length change places and rows are shuffled, as a function of (seed, epoch), so that (seed, epoch, cursor) is
the whole state, as in `loader.py`.

Shapes: B rows, T seq_len.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trueformer.data.loader import IGNORE, Batch, check_sizes, load_place
from trueformer.data.packing import best_fit
from trueformer.tokenization.chat_format import MarkedFormat, Rendered
from trueformer.tokenization.conversations import Conversation

PADDING = -1  # the document of places that hold none


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatCounts:
    """What became of the conversations given."""

    conversations: int  # kept, cut ones among them
    cut: int  # shortened to the messages that fit in a row
    too_long: int  # left out: not even one reply of the assistant fits in a row
    untrained: int  # left out: the assistant writes nothing in them
    tokens: int
    trained_tokens: int

    def __str__(self) -> str:
        rest = [
            f"{self.cut:,} cut to the messages that fit" if self.cut else "",
            f"{self.too_long:,} left out, too long for a row" if self.too_long else "",
            f"{self.untrained:,} left out, nothing of the assistant in them" if self.untrained else "",
        ]
        counts = (
            f"{self.conversations:,} conversations, {self.tokens:,} tokens, {self.trained_tokens:,} of them "
            "to learn"
        )
        return "; ".join([counts, *filter(None, rest)])


class ChatSet:
    """Conversations as tokens, each fitting in a row of `seq_len`.

    Raises:
        ValueError: no token in them is to be learned; says what was left out and why.
    """

    def __init__(self, conversations: Iterable[Conversation], chat: MarkedFormat, seq_len: int) -> None:
        if seq_len < 1:
            raise ValueError(f"seq_len is {seq_len}: expected at least 1 token a row")
        self.seq_len, self.pad_id = seq_len, chat.tokenizer.pad_id
        kept: list[Rendered] = []
        outcomes = {"cut": 0, "too_long": 0, "untrained": 0}
        for conversation in conversations:
            rendered, outcome = _fitted(conversation, chat, seq_len)
            if outcome is not None:
                outcomes[outcome] += 1
            if rendered is not None:
                kept.append(rendered)
        self._ids = [np.array(rendered.ids, dtype=np.int32) for rendered in kept]
        self._trained = [np.array(rendered.trained, dtype=bool) for rendered in kept]
        self.lengths = [len(ids) - 1 for ids in self._ids]
        self.counts = ChatCounts(
            conversations=len(kept),
            tokens=sum(map(len, self._ids)),
            trained_tokens=sum(int(trained.sum()) for trained in self._trained),
            **outcomes,
        )
        if not kept:
            raise ValueError(
                f"there is nothing to learn: {self.counts}; expected conversations in which the assistant "
                "writes, no longer than a row (seq_len)"
            )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all tokens and the mask."""
        digest = hashlib.sha256(str(self.seq_len).encode())
        for ids, trained in zip(self._ids, self._trained, strict=True):
            digest.update(len(ids).to_bytes(8, "little") + ids.tobytes() + trained.tobytes())
        return digest.hexdigest()

    def rows(self, order: Sequence[int]) -> list[list[int]]:
        """Which conversations share a row; those of one length are taken as `order` has them."""
        packed = best_fit([self.lengths[i] for i in order], self.seq_len)
        return [[order[place] for place in row] for row in packed]

    def batch(self, rows: Sequence[Sequence[int]]) -> Batch:
        """These rows as tensors; places without a conversation hold padding."""
        shape = (len(rows), self.seq_len)
        inputs = np.full(shape, self.pad_id, dtype=np.int64)
        targets = np.full(shape, IGNORE, dtype=np.int64)
        documents = np.full(shape, PADDING, dtype=np.int64)
        for number, row in enumerate(rows):
            start = 0
            for document, i in enumerate(row):
                place = slice(start, start + self.lengths[i])
                inputs[number, place] = self._ids[i][:-1]
                targets[number, place] = np.where(self._trained[i][1:], self._ids[i][1:], IGNORE)
                documents[number, place] = document
                start = place.stop
        return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(documents))


def _fitted(
    conversation: Conversation, chat: MarkedFormat, seq_len: int
) -> tuple[Rendered | None, str | None]:
    """The conversation, or as many of its first messages as fit in a row and hold something to learn."""
    messages = conversation.messages
    replies = [i for i, message in enumerate(messages) if message.role == "assistant"]
    if not replies:
        return None, "untrained"
    ids, trained, ends = chat.render(conversation)
    fitting = [i for i in replies if ends[i] - 1 <= seq_len]
    if not fitting:
        return None, "too_long"
    end = ends[fitting[-1]]
    outcome = None if fitting[-1] == replies[-1] else "cut"
    return Rendered(ids[:end], trained[:end], ends[: fitting[-1] + 1]), outcome


class ChatLoader:
    """Endless batches of `batch_size` rows for this rank; ranks get disjoint rows of one global order.

    A set with fewer rows than a batch gives rows of the next epoch as well: it is never short.

    Raises:
        ValueError: a size below 1, or a rank outside the world.
    """

    def __init__(
        self, chats: ChatSet, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        check_sizes(batch_size, chats.seq_len, rank, world_size)
        self._chats, self._batch_size, self._rank = chats, batch_size, rank
        self._global_batch = batch_size * world_size
        self.seed, self.epoch, self.cursor = seed, 0, 0
        self._epochs: dict[tuple[int, int], list[list[int]]] = {}
        self.n_rows = len(chats.rows(range(len(chats.lengths))))  # of every epoch: see packing

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        first = self.cursor + self._rank * self._batch_size
        batch = self._chats.batch([self._row(first + i) for i in range(self._batch_size)])
        later, self.cursor = divmod(self.cursor + self._global_batch, self.n_rows)
        self.epoch += later
        return batch

    def state_dict(self) -> dict[str, int]:
        """The place in the data: three integers."""
        return {"seed": self.seed, "epoch": self.epoch, "cursor": self.cursor}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved place; raises ValueError where it is none of this data."""
        self.seed, self.epoch, self.cursor = load_place(state, self.n_rows)

    def _row(self, row: int) -> list[int]:
        later, index = divmod(row, self.n_rows)
        key = (self.seed, self.epoch + later)
        if key not in self._epochs:
            rng = np.random.default_rng(key)
            rows = self._chats.rows(rng.permutation(len(self._chats.lengths)).tolist())
            self._epochs = {k: v for k, v in self._epochs.items() if k[1] >= self.epoch}
            self._epochs[key] = [rows[i] for i in rng.permutation(self.n_rows)]
        return self._epochs[key][index]


def chat_validation_batches(
    chats: ChatSet, *, batch_size: int, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Every conversation once, in an order that never changes; every rank gets equally many batches."""
    check_sizes(batch_size, chats.seq_len, rank, world_size)
    rows = chats.rows(range(len(chats.lengths)))
    size = batch_size * world_size
    for first in range(rank * batch_size, -(-len(rows) // size) * size, size):
        batch = rows[first : first + batch_size]
        yield chats.batch(batch + [[]] * (batch_size - len(batch)))
