"""The loop as a script has it, and the lines that make a message."""

import io
import os
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueformer.cli import main
from trueformer.inference.terminal import loop
from trueformer.inference.terminal.loop import MORE, YOU, read_message
from trueformer.inference.terminal.session import Session
from trueformer.inference.terminal.settings import Settings
from trueformer.tokenization.conversations import Text, ToolCall, ToolResult, assistant, user


def reader(lines):
    """Reads these lines, then the end; notes its prompts."""
    left, prompts = list(lines), []

    def read(prompt):
        prompts.append(prompt)
        if not left:
            raise EOFError
        return left.pop(0)

    return read, prompts


def test_a_line_that_ends_in_a_backslash_goes_on():
    read, prompts = reader(["one\\", "\\", "three", "four"])
    assert [read_message(read), read_message(read)] == ["one\n\nthree", "four"]
    assert prompts == [YOU, MORE, MORE, YOU]
    with pytest.raises(EOFError):
        read_message(read)


def test_the_end_of_the_input_ends_a_message():
    read, _ = reader(["one\\"])
    assert read_message(read) == "one"


@given(st.lists(st.text(st.sampled_from("ab\\ "), max_size=5), min_size=1, max_size=5))
def test_no_line_is_lost(lines):
    read, _ = reader(lines)
    messages = []
    with suppress(EOFError):
        while True:
            messages.append(read_message(read))
    assert "\n".join(messages) == "\n".join(line.removesuffix("\\") for line in lines)


def test_a_pipe_gives_a_reply_for_each_line(pipe, session):
    assert pipe(session, "Hello\n\n/reset\nHello\n") == (0, "Hi there!\nHi there!\n", "begun anew\n")
    assert session.turns == (user("Hello"), assistant("Hi there!"))


def test_a_tool_is_used_and_kept_in_the_conversation(pipe, session):
    assert pipe(session, "6 * 7?") == (0, "It is 42.\n", "")
    used = assistant(ToolCall("calculator", "6*7"), ToolResult("42"), "It is 42.")
    assert session.turns == (user("6 * 7?"), used)


def test_control_characters_of_the_model_are_not_passed_on(pipe, session):
    code, out, _ = pipe(session, "Paint\n")
    assert (code, out) == (0, "�]0;title��[31mred�2J!\n")
    assert session.turns[-1].parts == (Text("\x1b]0;title\x07\x1b[31mred\x9b2J!"),)  # as the model said it


def test_what_cannot_be_done_is_told_and_the_next_line_goes_on(pipe, session):
    code, out, err = pipe(session, "/nothing\nHello\n" + "x y " * 300 + "\n")
    assert (code, out) == (2, "Hi there!\n")
    assert "did you mean" in err.splitlines()[0]
    assert "room for 96: not sent" in err.splitlines()[1]


def test_quit_leaves_the_rest_unread(pipe, session):
    assert pipe(session, "/quit\nHello\n") == (0, "", "")


def test_a_full_context_is_told_and_reset_mends_it(pipe, chatty):
    session = Session(chatty, Settings(temperature=0.0))
    code, out, err = pipe(session, "tell me\nand?\n/reset\n/set max_tokens 3\nHm?\n")
    assert code == 2
    lines = err.splitlines()
    assert "The context of 96 tokens is full, so the reply ends here: /reset" in lines[0]
    assert "not sent" in lines[1]
    assert lines[2:] == ["begun anew", "max_tokens is 3"]
    assert out
    assert len(session.turns) == 2


def test_max_tokens_is_no_full_context(pipe, chatty):
    session = Session(chatty, Settings(temperature=0.0, max_tokens=2))
    assert pipe(session, "Hello\n")[::2] == (0, "")


def test_one_seed_gives_one_conversation(pipe, chatty):
    replies = []
    for seed in (1, 1, 2):
        session = Session(chatty, Settings(temperature=2.0, max_tokens=9, seed=seed))
        replies.append(pipe(session, "Hm?\nAnd?\n")[1])
    assert replies[0] == replies[1] != replies[2]


def test_a_line_without_end_is_not_held(pipe, session, monkeypatch):
    monkeypatch.setattr(loop, "LONGEST_LINE", 100)
    with pytest.raises(ValueError, match="more than 100 characters"):
        pipe(session, "x" * 101)


@pytest.mark.parametrize("latin", [True, False])
def test_the_command_itself_through_a_pipe(taught, latin):
    """Bytes that are no text are replaced, and so are characters that the output has no bytes for."""
    done = subprocess.run(
        [sys.executable, "-m", "trueformer", "chat", str(taught), "--temperature", "0"],
        input=b"Hello\nPaint\n/reset\n\xff\xfe\n/reset\nHello\n",
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "latin-1:strict" if latin else "utf-8:strict"},
    )
    assert done.stdout.startswith(b"Hi there!\n"), done.stderr
    assert done.stdout.endswith(b"Hi there!\n"), done.stderr
    assert b"Traceback" not in done.stderr


def test_a_model_that_knows_no_chat_is_a_clear_line(untaught, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello\n"))
    assert main(["chat", str(untaught)]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "`trueformer finetune`" in said
    assert "`trueformer generate`" in said


def test_a_bad_option_is_a_clear_line(taught, capsys):
    with pytest.raises(SystemExit):
        main(["chat", str(taught), "--temperature", "-1"])
    assert "temperature is -1" in capsys.readouterr().err
