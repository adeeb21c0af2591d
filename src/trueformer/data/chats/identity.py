"""Who the model is: its name, what it is, who made it and what it can do, from a small file of phrasings.

A line of the file is one matter: ways to ask, and answers to any of them.

    {"asks": ["Who are you?", "What is your name?"], "answers": ["I am Ada.", "My name is Ada."]}

Every way of asking meets every answer. Each fifth way is never trained on but asked: a matter with fewer has
no question. Our own file (`identity.jsonl`) says {name} where the name goes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trueformer.data.chats.grading import any_of, is_one_of
from trueformer.data.chats.task import Question
from trueformer.tokenization.conversations import Conversation, assistant, user

BUILT_IN = Path(__file__).with_name("identity.jsonl")
HELD_OUT_ONE_IN = 5
LONGEST_NAME = 64  # characters


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The task: the matters of `file`, with `called` in the place of {name}.

    Raises:
        ValueError: a name that is empty, long or more than a line; a line of the file that is no matter.
        OSError: the file cannot be read.
    """

    called: str = "Trueformer"
    file: Path = BUILT_IN
    name: ClassVar[str] = "identity"
    about: ClassVar[str] = "who the model is and what it can do (from a small file)"

    def __post_init__(self) -> None:
        if not self.called.strip() or len(self.called) > LONGEST_NAME or not self.called.isprintable():
            raise ValueError(
                f"the model is to be called {self.called[: LONGEST_NAME + 1]!r}: "
                f"expected a name of 1 to {LONGEST_NAME} characters, or a file that ends in .jsonl"
            )
        self.train()  # a file that cannot be used is refused before anything is trained

    def train(self) -> list[Conversation]:
        """Every way of asking but those held out, with every answer."""
        return [
            Conversation.of(user(ask), assistant(answer))
            for asks, answers in self._matters()
            for i, ask in enumerate(asks)
            if not _is_held_out(i)
            for answer in answers
        ]

    def held_out(self) -> list[Question]:
        """The other ways of asking, with all answers."""
        return [
            Question(prompt=Conversation.of(user(ask)), answer=any_of(answers))
            for asks, answers in self._matters()
            for i, ask in enumerate(asks)
            if _is_held_out(i)
        ]

    def correct(self, reply: str, answer: str) -> bool:
        """Whether the reply is one of the answers, but for case, spaces and the mark at its end."""
        return is_one_of(reply, answer)

    def _matters(self) -> Iterator[tuple[list[str], list[str]]]:
        for number, line in enumerate(self.file.read_bytes().splitlines(), 1):
            if line.strip():
                asks, answers = _matter(line, f"{self.file}, line {number}")
                yield asks, [answer.replace("{name}", self.called) for answer in answers]


def _is_held_out(place: int) -> bool:
    return place % HELD_OUT_ONE_IN == HELD_OUT_ONE_IN - 1


def _matter(line: bytes, where: str) -> tuple[list[str], list[str]]:
    try:
        row = json.loads(line)
        asks, answers = row["asks"], row["answers"]
        said = [*asks, *answers]
        if asks and answers and isinstance(asks, list) and isinstance(answers, list):
            for text in said:
                text.encode()  # JSON can spell lone surrogates, which are no text
            if all(text.strip() for text in said):
                return asks, answers
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError(
        f'{where}: expected lists of texts, as in {{"asks": ["Who are you?"], "answers": ["I am Ada."]}}'
    )
