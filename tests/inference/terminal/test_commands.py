"""Slash commands: each does what /help says, and each mistake says what to do."""

import pytest

from trueformer.inference.engine.request import Request
from trueformer.inference.terminal.commands import COMMANDS, run
from trueformer.tokenization.conversations import Text, assistant, system, user


def say(session, text, reply):
    session.ask(text)
    session.keep([Text(reply)], stopped=False)


def test_help_lists_every_command(session):
    said = run(session, "/help")
    assert [name for name in COMMANDS if name not in said] == []


@pytest.mark.parametrize(
    ("typed", "nearest"), [("/rest", "/reset"), ("/qiut", "/quit"), ("/sytem x", "/system"), ("/", "/")]
)
def test_an_unknown_command_names_the_nearest(session, typed, nearest):
    with pytest.raises(ValueError, match=f"did you mean {nearest}"):
        run(session, typed)


def test_a_command_that_takes_nothing_says_so(session):
    say(session, "one", "Hi")
    with pytest.raises(ValueError, match="/reset takes nothing"):
        run(session, "/reset now")
    assert session.turns
    assert run(session, "/reset ") == "begun anew"
    assert session.turns == ()


@pytest.mark.parametrize("name", ["/quit", "/exit"])
def test_quit_ends_the_input(session, name):
    with pytest.raises(EOFError):
        run(session, name)


def test_the_system_message_is_shown_set_and_taken_away(session):
    say(session, "one", "Hi")
    assert "the model's own" in run(session, "/system")
    assert session.turns
    run(session, "/system  You are  terse. ")
    assert (session.system, session.turns) == ("You are  terse.", ())
    assert "system message: You are  terse." in run(session, "/system")
    assert "same system message" in run(session, "/reset")
    run(session, "/system -")
    assert session.system == ""


def test_set_shows_changes_and_keeps_the_old_value_where_the_new_is_bad(session):
    assert run(session, "/set temperature 0.5") == "temperature is 0.5"
    assert run(session, "/set top-k 4") == "top_k is 4"
    for bad in ("/set temperature hot", "/set temperature -1", "/set temperature", "/set heat 3"):
        with pytest.raises(ValueError, match="xpected"):
            run(session, bad)
    assert (session.settings.temperature, session.settings.top_k) == (0.5, 4)
    lines = run(session, "/set").splitlines()
    assert lines[:2] == ["  temperature          0.5", "  top_k                4"]
    session.settings = session.settings.__class__(seed=7)
    session.ask("one")
    assert "seed 7" in run(session, "/set").splitlines()[-1]


def test_save_and_load_keep_the_conversation_and_its_system_message(session, tmp_path):
    path = tmp_path / "a chat.jsonl"
    run(session, "/system Be brief")
    say(session, "one", "Hi")
    assert "line 1" in run(session, f"/save {path}")
    assert "line 2" in run(session, f"/save {path}")
    run(session, "/system -")
    assert "loaded 2 messages" in run(session, f"/load {path}")
    assert session.conversation().messages == (system("Be brief"), user("one"), assistant("Hi"))


def test_save_and_load_without_a_file_or_a_conversation(session, tmp_path):
    for name in ("/save", "/load"):
        with pytest.raises(ValueError, match=f"expected {name} FILE"):
            run(session, name)
    with pytest.raises(ValueError, match="nothing was said"):
        run(session, f"/save {tmp_path / 'x'}")
    assert not (tmp_path / "x").exists()


def test_a_home_is_found(session, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    say(session, "one", "Hi")
    run(session, "/save ~/chat.jsonl")
    assert (tmp_path / "chat.jsonl").exists()


def test_retry_asks_the_last_message_again_and_undo_says_what_it_took(session):
    session.settings = session.settings.__class__(temperature=1.0)
    say(session, "one", "Hi")
    assert isinstance(run(session, "/retry"), Request)
    assert session.turns == (user("one"),)
    assert run(session, "/undo") == "taken back: one"
