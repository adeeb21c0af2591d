"""Conversations on disk: added, never written over, and read back as they were."""

import json
import os

import pytest

from trueformer.data.chats.jsonl import read_conversations
from trueformer.inference.terminal import files
from trueformer.inference.terminal.files import load, save
from trueformer.tokenization.conversations import Conversation, ToolCall, ToolResult, assistant, system, user

FIRST = Conversation.of(system("Be brief"), user("Hé\nllo"), assistant("Hi"))
SECOND = Conversation.of(
    user("6*7?"), assistant(ToolCall("calculator", "6*7"), ToolResult("42"), "It is 42."), user("Thanks")
)


def test_saving_adds_a_line_and_loading_gives_the_last(tmp_path):
    path = tmp_path / "chat.jsonl"
    assert [save(FIRST, path), save(SECOND, path)] == [1, 2]
    assert load(path) == SECOND
    assert read_conversations(path).conversations == [FIRST, SECOND]
    assert json.loads(path.read_text().splitlines()[0])["messages"][1] == {
        "role": "user",
        "content": "Hé\nllo",
    }


def test_a_file_without_a_line_break_at_its_end_keeps_its_last_line(tmp_path):
    path = tmp_path / "chat.jsonl"
    save(FIRST, path)
    path.write_text(path.read_text().rstrip("\n"))
    assert save(SECOND, path) == 2
    assert read_conversations(path).conversations == [FIRST, SECOND]


def test_an_empty_file_may_be_filled(tmp_path):
    path = tmp_path / "chat.jsonl"
    path.touch()
    assert save(FIRST, path) == 1
    assert load(path) == FIRST


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    for act in (lambda: save(FIRST, path), lambda: load(path)):
        with pytest.raises(ValueError, match="line 1: not JSON"):
            act()
    assert path.read_text() == "my notes\n"


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path, fifo):
        for act in (lambda path=path: save(FIRST, path), lambda path=path: load(path)):
            with pytest.raises(ValueError, match="no file"):
                act()


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(OSError, match=r"none\.jsonl"):
        load(tmp_path / "none.jsonl")
    with pytest.raises(OSError, match="nowhere"):
        save(FIRST, tmp_path / "nowhere" / "chat.jsonl")


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "chat.jsonl"
    with path.open("wb") as file:
        file.truncate(files.MOST_BYTES + 1)
    with pytest.raises(ValueError, match="more than 64 MiB"):
        load(path)
