"""Chatterbot's lists: two people in turn, or a question with its answers."""

import pytest

from trueformer.data.chats import chatterbot


def test_talk_in_turn_ends_with_the_assistant() -> None:
    entries: list[object] = [["Hi", " Hello ", "Bye"], ["Alone"], "In a game", ["a", ""], ["1", 2, "3", "4"]]
    assert list(chatterbot.talks(entries, in_turn=True)) == [["Hi", "Hello"], ["1", "2", "3", "4"]]


def test_possible_answers_become_talks_of_their_own() -> None:
    entries: list[object] = [["Hi", "Hello", "Bye"], ["Alone"]]
    assert list(chatterbot.talks(entries, in_turn=False)) == [["Hi", "Hello"], ["Hi", "Bye"]]


def test_chatterbot_without_its_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chatterbot, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps chatterbot-corpus"):
        chatterbot.files()
