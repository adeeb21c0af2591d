"""GSM8K, school mathematics in words (Cobbe et al. 2021, arXiv:2110.14168), its notes as calculator calls.

An answer of the data set says "48/2 = <<48/2=24>>24 clips" and ends in "#### 72". The note becomes a call of
the calculator with what is left of "=", and a result that is what is right of it, as it is written there
("144.00", ".5"). All other text stays. A note of another form is left out. Reads train.jsonl and test.jsonl
from a folder; leaves out fetching them.

    GSM8K(folder=Path("gsm8k")).held_out()
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trueformer.data.chats.grading import last_number, plain
from trueformer.data.chats.task import Question
from trueformer.tokenization.conversations import (
    Conversation,
    Part,
    Text,
    ToolCall,
    ToolResult,
    assistant,
    user,
)

SOURCE = "https://github.com/openai/grade-school-math, folder grade_school_math/data"
NOTE = re.compile(r"<<([^<>]*)>>")
CALCULATION = re.compile(r"([-+*/(). 0-9]+)=(-?[0-9.]+)")
END = "####"


@dataclass(frozen=True, kw_only=True, slots=True)
class GSM8K:
    """The task: train.jsonl of `folder` to learn from, test.jsonl to be asked.

    Raises:
        FileNotFoundError: a file is not in the folder; says where they come from.
    """

    folder: Path
    name: ClassVar[str] = "gsm8k"
    about: ClassVar[str] = "school mathematics in words, with the calculator (from a folder)"

    def __post_init__(self) -> None:
        missing = [name for name in ("train.jsonl", "test.jsonl") if not (self.folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{self.folder} has no {missing[0]}: expected GSM8K's files, from {SOURCE}"
            )

    def train(self) -> list[Conversation]:
        """The training problems, with calls of the calculator."""
        return [
            Conversation.of(user(question), assistant(*parts(answer)))
            for question, answer in _rows(self.folder / "train.jsonl")
        ]

    def held_out(self) -> list[Question]:
        """The test problems; the answer is the number at the end."""
        return [
            Question(prompt=Conversation.of(user(question)), answer=answer.rpartition(END)[2].strip())
            for question, answer in _rows(self.folder / "test.jsonl")
        ]

    def correct(self, reply: str, answer: str) -> bool:
        """Whether the last number of the reply is the answer: the one behind "####", if it ends so."""
        return last_number(reply) == plain(answer)


def parts(answer: str) -> Iterator[Part]:
    """An answer of the data set as text, calls and results."""
    start = 0
    for note in NOTE.finditer(answer):
        if note.start() > start:
            yield Text(answer[start : note.start()])
        start = note.end()
        calculation = CALCULATION.fullmatch(note[1])
        if calculation:
            yield ToolCall("calculator", calculation[1])
            yield ToolResult(calculation[2])
    yield Text(answer[start:])


def malformed(answer: str) -> list[str]:
    """The notes of an answer that `parts` leaves out."""
    return [note for note in NOTE.findall(answer) if not CALCULATION.fullmatch(note)]


def _rows(file: Path) -> Iterator[tuple[str, str]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _row(line, f"{file}, line {number}")


def _row(line: bytes, where: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
        question, answer = row["question"], row["answer"]
        end = answer.rpartition(END)[2].strip() if END in answer else ""
        (question + answer).encode()  # JSON can spell lone surrogates, which are no text
        if question and last_number(end) is not None:
            return question, answer
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError(
        f'{where}: expected an object with a "question" and an "answer" that ends in "#### " and a number'
    )
