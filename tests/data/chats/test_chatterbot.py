"""Chatterbot's lists: two people in turn, or a question with its answers."""

from pathlib import Path

import pytest

from trueformer.data.chats.chatterbot import HELD_OUT_ONE_IN, Chatterbot, files, talks
from trueformer.data.chats.grading import any_of
from trueformer.data.chats.task import Question, is_held_out
from trueformer.tokenization.conversations import Conversation, assistant, user


def test_talk_in_turn_ends_with_the_assistant() -> None:
    entries: list[object] = [["Hi", " Hello ", "Bye"], ["Alone"], "In a game", ["a", ""], ["1", 2, "3", "4"]]
    assert list(talks(entries, in_turn=True)) == [["Hi", "Hello"], ["1", "2", "3", "4"]]


def test_possible_answers_become_talks_of_their_own() -> None:
    entries: list[object] = [["Hi", "Hello", "Bye"], ["Alone"]]
    assert list(talks(entries, in_turn=False)) == [["Hi", "Hello"], ["Hi", "Bye"]]


def test_chatterbot_without_its_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trueformer.data.packaged.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps chatterbot-corpus"):
        files()


def test_a_held_out_question_is_nowhere_and_each_talk_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "talk.yml"
    kept, other, secret = (
        next(
            f"{word} {n}"
            for n in range(999)
            if is_held_out(f"{word} {n}", one_in=HELD_OUT_ONE_IN) == held_out
        )
        for word, held_out in (("a", False), ("b", False), ("c", True))
    )
    file.write_text(
        f"conversations: [[{kept}, x], [{kept}, x], [{other}, y, {secret}, z], [{secret.upper()}!, w]]"
    )
    monkeypatch.setattr("trueformer.data.chats.chatterbot.files", lambda: [file])
    assert Chatterbot().train() == [Conversation.of(user(kept), assistant("x"))]
    expected = Question(prompt=Conversation.of(user(f"{secret.upper()}!")), answer=any_of(["z", "w"]))
    assert Chatterbot().held_out() == [expected]
