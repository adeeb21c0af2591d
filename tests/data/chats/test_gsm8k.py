"""GSM8K: notes become calls of the calculator, replies are graded by their number, bad files refused."""

import json
import re
from pathlib import Path

import pytest

from trueformer.data.chats.gsm8k import GSM8K, malformed, parts
from trueformer.data.chats.registry import open_task
from trueformer.tokenization.conversations import Conversation, Text, ToolCall, ToolResult, assistant, user


def test_gsm8k_s_notes_become_calls_and_all_else_stays(school: Path, rows: list[dict[str, str]]) -> None:
    first, second, third = GSM8K(folder=school).train()
    assert first == Conversation.of(
        user(rows[0]["question"]),
        assistant(
            "Ada has 48/2 = $",
            ToolCall("calculator", "48/2"),
            ToolResult("24.00"),
            "24 pens.\nTogether 48+24 = ",
            ToolCall("calculator", "48+24"),
            ToolResult("72"),
            "72.\n#### 72",
        ),
    )
    assert second.messages[1] == assistant("It is plain.\n#### 1,250")
    assert third.messages[1].text == "3/4 is .75\n#### .75", "a note without a number is left out"
    assert malformed(rows[2]["answer"]) == ["3/4=3/4"]
    for row in rows:
        calls = [part for part in parts(row["answer"]) if isinstance(part, ToolCall)]
        assert len(calls) + len(malformed(row["answer"])) == row["answer"].count("<<")
        words = "".join(part.text for part in parts(row["answer"]) if isinstance(part, Text))
        assert words == re.sub("<<.*?>>", "", row["answer"])


def test_gsm8k_is_graded_by_the_last_number(school: Path) -> None:
    task = GSM8K(folder=school)
    assert [question.answer for question in task.held_out()] == ["72", "1,250"]
    assert task.correct("so $1,250.00", "1,250")
    assert task.correct("1250.\n#### 1250\n", "1,250")
    assert task.correct("#### 72 pens", "72")
    assert not task.correct("72\n#### 73", "72")
    assert task.correct("72\n####", "72"), "nothing behind the marks: the last number"
    assert not task.correct("72 or 73", "72")


@pytest.mark.parametrize("line", ["{", "[]", '{"question": "?"}', '{"question": "?", "answer": "72"}', "5"])
def test_a_line_that_is_not_gsm8k_s_is_refused_by_its_number(
    school: Path, rows: list[dict[str, str]], line: str
) -> None:
    (school / "train.jsonl").write_text(json.dumps(rows[0]) + "\n\n" + line)
    with pytest.raises(ValueError, match=r"train.jsonl, line 3: expected an object with a \"question\""):
        GSM8K(folder=school).train()


def test_a_folder_without_gsm8k_is_told_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no train.jsonl: expected GSM8K's files, from https"):
        open_task(f"gsm8k:{tmp_path}")
