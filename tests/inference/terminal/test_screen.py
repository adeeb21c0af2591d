"""Nothing that comes from elsewhere steers the terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueformer.inference.reply import Piece
from trueformer.inference.terminal.screen import LONGEST, Screen, clean
from trueformer.tokenization.conversations import ToolCall, ToolResult

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x08\x7f"


@given(st.text())
def test_no_control_character_is_left_but_line_breaks_and_tabs(text):
    shown = clean(text)
    assert {c for c in shown if unicodedata.category(c) == "Cc"} <= {"\n", "\t"}
    assert len(shown) == len(text.replace("\r", ""))


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"])))
def test_other_characters_stay(text):
    assert clean(text) == text


def test_words_stay_as_they_are():
    text = "naïve 👩‍🚀 東京\n\tمرحبا [bold]x[/bold] :smile: https://x.org 12"
    assert clean(text) == text
    assert clean("a\r\nb\u202ec") == "a\nb�c"


@pytest.mark.parametrize("interactive", [True, False])
def test_neither_words_nor_tools_nor_notes_let_an_escape_through(interactive, capfd, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen(interactive=interactive)
    screen.reply(Piece(text=EVIL))
    screen.reply(Piece(part=ToolCall("t\x1b[2J", EVIL)))
    screen.reply(Piece(part=ToolResult(EVIL)))
    screen.end_reply(EVIL, EVIL)
    screen.note(EVIL)
    screen.error(EVIL)
    out, err = capfd.readouterr()
    assert {c for c in out + err if unicodedata.category(c) == "Cc"} == {"\n"}


def test_markup_is_text_and_long_lines_are_not_cut(capfd):
    screen = Screen(interactive=False)
    text = "[red]" + "long " * 100 + ":smile:"
    screen.reply(Piece(text=text))
    screen.end_reply("")
    assert capfd.readouterr().out == text + "\n"


def test_tools_stand_in_lines_of_their_own_and_are_short(capfd):
    screen = Screen(interactive=True)
    screen.reply(Piece(text="So "))
    screen.reply(Piece(part=ToolCall("calculator", "6*7")))
    screen.reply(Piece(part=ToolResult("4\n2" + "0" * 1000)))
    screen.reply(Piece(text="42."))
    screen.end_reply("status")
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "So "
    assert lines[1].startswith("⚙ calculator 6*7 → 4 ⏎ 20")
    assert len(lines[1]) < LONGEST + 30
    assert lines[2:] == ["42.", "status", ""]


def test_a_pipe_gets_the_words_alone(capfd):
    screen = Screen(interactive=False)
    screen.reply(Piece(part=ToolCall("calculator", "6*7")))
    screen.reply(Piece(part=ToolResult("42")))
    screen.reply(Piece(text="42."))
    screen.end_reply("status", "problem")
    assert capfd.readouterr() == ("42.\n", "problem\n")
