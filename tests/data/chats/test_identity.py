"""Identity: a name in our phrasings, or a file of the user's; what is neither is refused."""

from pathlib import Path

import pytest

from trueformer.data.chats.identity import Identity
from trueformer.data.chats.registry import open_task


def test_identity_has_the_name_given_in_every_matter() -> None:
    said = [conversation.messages[1].text for conversation in Identity(called="Ada {x}").train()]
    assert any("Ada {x}" in text for text in said)
    assert not any("{name}" in text for text in said)
    assert len(Identity().held_out()) >= 10


def test_identity_from_a_file_of_the_user_s(tmp_path: Path) -> None:
    file = tmp_path / "me.jsonl"
    file.write_text('{"asks": ["1", "2", "3", "4", "5", "6"], "answers": ["I am Ben.", "Ben."]}\n\n')
    task = open_task(f"identity:{file}")
    assert len(task.train()) == 10
    (question,) = task.held_out()
    assert question.prompt.messages[0].text == "5"
    assert task.correct("ben", question.answer)
    assert not task.correct("I am Trueformer.", question.answer)


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"asks": "x", "answers": ["y"]}', '{"asks": [], "answers": ["y"]}', '{"asks": ["x"]}',
     '{"asks": ["x"], "answers": [5]}', '{"asks": ["x"], "answers": [""]}', "[" * 100_000,
     '{"asks": ["\\ud800"], "answers": ["y"]}'],
)  # fmt: skip
def test_a_line_that_is_no_matter_is_refused_at_once(tmp_path: Path, line: str) -> None:
    file = tmp_path / "me.jsonl"
    file.write_text('{"asks": ["x"], "answers": ["y"]}\n' + line)
    with pytest.raises(ValueError, match=r"me.jsonl, line 2: expected lists of texts"):
        Identity(file=file)


@pytest.mark.parametrize("called", ["", " ", "x" * 65, "two\nlines", "\ud800"])
def test_a_name_that_is_none_is_refused(called: str) -> None:
    with pytest.raises(ValueError, match="expected a name of 1 to 64 characters"):
        Identity(called=called)
