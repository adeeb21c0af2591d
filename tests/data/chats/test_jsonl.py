"""Files of conversations: two formats line by line, bad lines by number, hostile ones without harm."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.data.chats.jsonl import LONGEST_LINE, _line, read_conversations, read_line
from trueformer.tokenization.conversations import Conversation, assistant, system, user

OPENAI = b'{"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]}'
SHARE_GPT = b'{"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi."}]}'
HELLO = Conversation.of(user("Hello"), assistant("Hi."))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines and returns the file."""

    def file(*lines: bytes, end: bytes = b"\n") -> Path:
        path = tmp_path / "chats.jsonl"
        path.write_bytes(end.join(lines))
        return path

    return file


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_both_formats_may_share_a_file_with_blank_lines_and_a_mark(
    write: Callable[..., Path], end: bytes
) -> None:
    read = read_conversations(write(b"\xef\xbb\xbf" + OPENAI, b"", SHARE_GPT, b" \t", OPENAI, end=end))
    assert read.conversations == [HELLO] * 3
    assert read.skipped == []


def test_the_system_of_share_gpt_is_heard_wherever_it_stands() -> None:
    row = json.loads(SHARE_GPT)
    inside = {"conversations": [{"from": "system", "value": "Be brief."}, *row["conversations"]]}
    beside = {**row, "system": "Be brief."}
    for spelled in (inside, beside):
        read = read_line(json.dumps(spelled).encode())
        assert read == Conversation((system("Be brief."), *HELLO.messages))


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_as_many_bad_lines_are_skipped_as_allowed_and_no_more(write: Callable[..., Path], bad: int) -> None:
    path = write(OPENAI, b"{", b"", b"[]", OPENAI)
    if bad == 2:
        read = read_conversations(path, skip_bad=bad)
        assert read.conversations == [HELLO] * 2
        assert [number for number, _ in read.skipped] == [2, 4]
        assert "not JSON" in read.skipped[0][1]
    else:
        line = [2, 4][bad]
        with pytest.raises(ValueError, match=rf"line {line}: .*allow more than {bad} of them \(--skip-bad\)"):
            read_conversations(path, skip_bad=bad)


def test_a_negative_allowance_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="skip_bad is -1: expected 0 or the number"):
        read_conversations(write(OPENAI), skip_bad=-1)


def test_a_file_without_conversations_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="has no conversation: expected lines such as"):
        read_conversations(write(b"", b" "))
    with pytest.raises(ValueError, match="has no conversation"):
        read_conversations(write(b"bad"), skip_bad=5)


REFUSED = {
    "no JSON": (b"{'messages': []}", "not JSON"),
    "two": (OPENAI + OPENAI, "not JSON"),
    "not UTF-8": (OPENAI.replace(b"Hi.", b"\xff"), "not UTF-8 at byte"),
    "a list": (b"[1]", "a list: expected an object"),
    "other keys": (b'{"text": "x", "id": 5}', "an object with the keys 'text, id': expected"),
    "no messages": (b'{"messages": []}', "messages is a list: expected a list of at least one"),
    "no turns": (b'{"conversations": []}', "conversations is a list: expected a list of at least one turn"),
    "unknown role": (b'{"messages": [{"role": "robot"}]}', r"messages\[0\].role is 'robot'"),
    "unknown speaker": (
        b'{"conversations": [{"from": "robot", "value": "x"}]}',
        r"conversations\[0\].from is 'robot': expected one of human",
    ),
    "odd speaker": (b'{"conversations": [{"from": {}}]}', r"conversations\[0\].from is an object"),
    "no turn": (b'{"conversations": [5]}', r"conversations\[0\].from is missing"),
    "no value": (b'{"conversations": [{"from": "gpt"}]}', r"conversations\[0\].value is missing"),
    "empty value": (
        b'{"conversations": [{"from": "gpt", "value": ""}]}',
        r"\[0\].value is '': expected some",
    ),
    "half a character": (OPENAI.replace(b"Hi.", b"\\ud800"), "half of a surrogate pair"),
    "an endless number": (b'{"messages": ' + b"9" * 5000 + b"}", "not JSON"),
    "a bomb": (b"[" * 10**6, "nested too deeply"),
    "a bomb inside": (b'{"messages": ' + b'{"a":' * 10**6, "nested too deeply"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_line_that_is_no_conversation_is_refused_and_the_next_one_read(
    write: Callable[..., Path], name: str
) -> None:
    line, said = REFUSED[name]
    path = write(OPENAI, line, SHARE_GPT)
    with pytest.raises(ValueError, match=rf"chats.jsonl, line 2: .*{said}"):
        read_conversations(path)
    assert read_conversations(path, skip_bad=1).conversations == [HELLO] * 2


def test_a_line_too_long_is_passed_over_without_being_held(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trueformer.data.chats.jsonl.LONGEST_LINE", 200)
    read = read_conversations(write(OPENAI, b" " * 1000 + OPENAI, OPENAI), skip_bad=1)
    assert read.conversations == [HELLO] * 2
    assert read.skipped[0][0] == 2
    assert "longer than 200 bytes: expected one conversation" in read.skipped[0][1]
    with (write(b"x" * 10_000, b"y")).open("rb") as file:
        assert len(_line(file)) == 201
        assert file.read() == b"y"


def test_the_limit_leaves_room_for_a_book() -> None:
    book = OPENAI.replace(b"Hi.", b"x" * 10_000_000)
    assert len(book) < LONGEST_LINE
    assert len(read_line(book).messages[1].text) == 10_000_000


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=40)
    | st.builds(lambda a, b: OPENAI[:a] + OPENAI[b:], st.integers(0, 95), st.integers(0, 95))
)
def test_any_line_is_read_or_refused(line: bytes) -> None:
    try:
        read = read_line(line)
    except ValueError:
        return  # any other error would be ours
    assert read.messages
