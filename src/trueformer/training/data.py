"""What a trainer reads: batches for this process, batches to validate on, and the tokenizer of both.

Leaves out where texts and conversations come from (`data/`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from trueformer.data.chat_rows import ChatLoader, ChatSet, chat_validation_batches
from trueformer.data.config import DataConfig
from trueformer.data.loader import Batch, TrainLoader, validation_batches
from trueformer.data.shards import PreparedData
from trueformer.tokenization.chat_format import MarkedFormat
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.distributed import World


@runtime_checkable
class Loader(Protocol):
    """Endless batches with a place that can be saved."""

    def __next__(self) -> Batch:
        """The next batch of this process."""
        ...

    def state_dict(self) -> dict[str, int]:
        """The place in the data."""
        ...

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a saved place; raises ValueError where it is none of this data."""
        ...


@runtime_checkable
class TrainingData(Protocol):
    """Both sides of a data set."""

    @property
    def tokenizer(self) -> Tokenizer:
        """What made the tokens."""
        ...

    @property
    def chat_template(self) -> str | None:
        """The chat format as Jinja; None: no conversations."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever a token does."""
        ...

    def loader(self, batch_size: int, seed: int, world: World) -> Loader:
        """Batches of `batch_size` rows to learn from; raises ValueError where there are too few."""
        ...

    def validation(self, batch_size: int, world: World) -> Iterator[Batch]:
        """The held-out side once, in an order that never changes."""
        ...


class TextData:
    """A corpus as rows of tokens."""

    chat_template = None

    def __init__(self, prepared: PreparedData, config: DataConfig) -> None:
        self._prepared, self._config = prepared, config
        self.tokenizer = prepared.tokenizer
        self.fingerprint = f"{prepared.train.fingerprint} {prepared.validation.fingerprint}"

    def loader(self, batch_size: int, seed: int, world: World) -> TrainLoader:
        """Batches of `batch_size` rows to learn from; errors as `TrainLoader` has them."""
        return TrainLoader(
            self._prepared.train,
            batch_size=batch_size,
            seq_len=self._config.seq_len,
            seed=seed,
            rank=world.rank,
            world_size=world.size,
            document_mask=self._config.document_mask,
        )

    def validation(self, batch_size: int, world: World) -> Iterator[Batch]:
        """The validation split once, in order."""
        return validation_batches(
            self._prepared.validation,
            batch_size=batch_size,
            seq_len=self._config.seq_len,
            rank=world.rank,
            world_size=world.size,
            document_mask=self._config.document_mask,
        )


@dataclass(frozen=True, kw_only=True)
class ChatData:
    """Conversations packed into rows."""

    train: ChatSet
    held_out: ChatSet
    chat: MarkedFormat

    @property
    def tokenizer(self) -> Tokenizer:
        """What made the tokens."""
        return self.chat.tokenizer

    @property
    def chat_template(self) -> str:
        """The format as a Jinja template."""
        return self.chat.template

    @property
    def fingerprint(self) -> str:
        """Changes whenever a token or the mask does."""
        return f"{self.train.fingerprint} {self.held_out.fingerprint}"

    def loader(self, batch_size: int, seed: int, world: World) -> ChatLoader:
        """Batches of `batch_size` rows to learn from."""
        return ChatLoader(
            self.train, batch_size=batch_size, seed=seed, rank=world.rank, world_size=world.size
        )

    def validation(self, batch_size: int, world: World) -> Iterator[Batch]:
        """The held-out conversations once, in order."""
        return chat_validation_batches(
            self.held_out, batch_size=batch_size, rank=world.rank, world_size=world.size
        )
