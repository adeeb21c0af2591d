"""The English conversations of the PyPI package `chatterbot-corpus`: small talk, trivia, help with computers.

Only the package's YAML files are read; its code is never imported. A conversation there is a list of
sentences, and its file decides what they are: a question and its possible answers (computers, emotion), which
become one conversation for each answer, or else two people in turn, the user first. Of those, what the user
says last goes without answer and is left out, and so is what is no list of sentences (one entry of trivia).
Questions asked in several conversations have several right answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trueformer.data.chats.grading import any_of, is_one_of, words
from trueformer.data.chats.task import Question, is_held_out
from trueformer.data.packaged import packaged_files
from trueformer.tokenization.conversations import Conversation, assistant, user

INSTALL = "pip install --no-deps chatterbot-corpus && pip install pyyaml"
QUESTION_AND_ANSWERS = ("computers", "emotion")  # files whose lists are no talk in turn
HELD_OUT_ONE_IN = 20


@dataclass(frozen=True, slots=True)
class Chatterbot:
    """The task; one question in twenty is asked and not trained on, in whatever conversation it comes up.

    How to answer them cannot be known from the others: the task shows what was learned by heart.
    """

    name: ClassVar[str] = "chatterbot"
    about: ClassVar[str] = "English small talk and questions (from the package chatterbot-corpus)"

    def train(self) -> list[Conversation]:
        """The conversations in which no question is held out."""
        return [
            _conversation(talk)
            for talk in _all()
            if not any(is_held_out(words(said), one_in=HELD_OUT_ONE_IN) for said in talk[::2])
        ]

    def held_out(self) -> list[Question]:
        """Each held-out question that opens a conversation, with all answers known."""
        answers: dict[str, list[str]] = {}
        asked: dict[str, str] = {}
        for talk in _all():
            for said, reply in zip(talk[::2], talk[1::2], strict=True):
                answers.setdefault(words(said), []).append(reply)
            if is_held_out(words(talk[0]), one_in=HELD_OUT_ONE_IN):
                asked.setdefault(words(talk[0]), talk[0])
        return [
            Question(prompt=Conversation.of(user(text)), answer=any_of(answers[key]))
            for key, text in asked.items()
        ]

    def correct(self, reply: str, answer: str) -> bool:
        """Whether the reply is any known answer, but for case, spaces and the mark at its end."""
        return is_one_of(reply, answer)


def files() -> list[Path]:
    """The English YAML files.

    Raises:
        FileNotFoundError: the package is not installed; names the command.
    """
    missing = f"they come with the package chatterbot-corpus, which is not installed: {INSTALL}"
    return packaged_files("chatterbot_corpus", "data/english/*.yml", missing=missing)


def talks(entries: list[object], *, in_turn: bool) -> Iterator[list[str]]:
    """What a file's entries say: user and assistant in turn, as many of the one as of the other.

    Example: ["Hi", "Hello", "Bye"] is one talk of two, or two of them when the last two are answers.
    """
    for entry in entries:
        if not isinstance(entry, list):
            continue
        said = [str(sentence).strip() for sentence in entry]
        for talk in [said] if in_turn else [[said[0], answer] for answer in said[1:]]:
            if len(talk) > 1 and all(talk):
                yield talk[: len(talk) // 2 * 2]


def _all() -> list[tuple[str, ...]]:
    """Each talk once: the file on technical support says each of its ten about a hundred times."""
    try:
        import yaml
    except ImportError as error:
        raise ValueError(f"the conversations are written in YAML, which needs PyYAML: {INSTALL}") from error
    found: dict[tuple[str, ...], None] = {}
    for file in files():
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"]
        made = talks(entries, in_turn=file.stem not in QUESTION_AND_ANSWERS)
        found.update((tuple(talk), None) for talk in made)
    return list(found)


def _conversation(talk: tuple[str, ...]) -> Conversation:
    return Conversation.of(*(user(said) if i % 2 == 0 else assistant(said) for i, said in enumerate(talk)))
