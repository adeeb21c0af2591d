"""What a task is: conversations to train on, and questions with answers that training has not seen.

A task gives the same conversations and questions every time, in every process. Leaves out asking a model and
counting (evaluation), and how a task is found by its name (`registry.py`).
"""

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from trueformer.tokenization.conversations import Conversation


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What to ask, ending with a message of the user, and what the task's `correct` compares a reply with."""

    prompt: Conversation
    answer: str

    def __post_init__(self) -> None:
        if self.prompt.messages[-1].role != "user":
            raise ValueError(
                f"a question ends with a message of the {self.prompt.messages[-1].role}: expected the user's"
            )


@runtime_checkable
class Task(Protocol):
    """Something to learn and to be examined in; `about` is one line for a list of tasks."""

    name: ClassVar[str]
    about: ClassVar[str]

    def train(self) -> list[Conversation]:
        """Conversations to learn from."""
        ...

    def held_out(self) -> list[Question]:
        """Questions that no conversation of `train` asks; possibly none."""
        ...

    def correct(self, reply: str, answer: str) -> bool:
        """Whether a reply, the assistant's words without its tool calls, gives the answer."""
        ...


def is_held_out(text: str, *, one_in: int) -> bool:
    """Whether `text` is among the one in so many kept from training; decided by its hash alone.

    So nothing that is trained on is asked, however many of either are drawn.
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % one_in == 0
