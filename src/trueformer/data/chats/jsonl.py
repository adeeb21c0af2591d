"""Conversations from a JSONL file: one object a line, in OpenAI's format or ShareGPT's, line by line.

    {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]}
    {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi."}]}

A line that is no conversation stops the reading, unless so many may be skipped. The file is read a line at a
time; white space alone is no line, and a byte-order mark in front is dropped. What a line holds beside its
messages is ignored, such as definitions of tools. Tools: `openai_messages.py`.

    read_conversations(Path("chats.jsonl"), skip_bad=3).conversations
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trueformer.data.chats.openai_messages import from_openai, show
from trueformer.tokenization.conversations import Conversation

LONGEST_LINE = 16 * 2**20  # bytes: no conversation that anyone trains on, and little enough to hold
SHARE_GPT = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadResult:
    """A file's conversations, and the number of each line that was skipped, with the reason."""

    conversations: list[Conversation]
    skipped: list[tuple[int, str]]


def read_conversations(path: Path, *, skip_bad: int = 0) -> ReadResult:
    """All conversations of a file, in order; up to `skip_bad` lines may be none and are skipped.

    Raises:
        ValueError: one bad line too many, with its number; no conversation at all; `skip_bad` is negative.
        OSError: the file cannot be read.
    """
    if skip_bad < 0:
        raise ValueError(f"skip_bad is {skip_bad}: expected 0 or the number of bad lines to allow")
    conversations: list[Conversation] = []
    skipped: list[tuple[int, str]] = []
    for number, line in _lines(path):
        try:
            conversations.append(read_line(line))
        except ValueError as error:
            skipped.append((number, str(error)))
            if len(skipped) > skip_bad:
                raise ValueError(
                    f"{path}, line {number}: {error}. To skip bad lines, allow more than {skip_bad} of them "
                    "(--skip-bad)"
                ) from error
    if not conversations:
        raise ValueError(
            f'{path} has no conversation: expected lines such as {{"messages": [{{"role": …}}]}}'
        )
    return ReadResult(conversations=conversations, skipped=skipped)


def read_line(line: bytes) -> Conversation:
    """The conversation of one line.

    Raises:
        ValueError: it is none; says what was expected.
    """
    if len(line) > LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE} bytes: expected one conversation; cut it into several")
    row = _object(line)
    if "messages" in row:
        return from_openai(row["messages"])
    if "conversations" in row:
        return _from_share_gpt(row["conversations"], row.get("system"))
    raise ValueError(
        f'an object with the keys {show(", ".join(row))}: expected "messages" (OpenAI\'s format) or '
        '"conversations" (ShareGPT\'s)'
    )


def _object(line: bytes) -> dict[str, object]:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}: expected JSON; convert the file") from error
    except ValueError as error:
        raise ValueError(f"not JSON ({error}): expected one object a line") from error
    except RecursionError as error:
        raise ValueError("nested too deeply: expected an object with a list of messages") from error
    if not isinstance(row, dict):
        raise ValueError(f'{show(row)}: expected an object with "messages" or "conversations"')
    return row


def _from_share_gpt(turns: object, instruction: object) -> Conversation:
    """ShareGPT's turns as OpenAI's messages; some files keep the system's words beside the turns."""
    if not isinstance(turns, list) or not turns:
        raise ValueError(f"conversations is {show(turns)}: expected a list of at least one turn")
    messages: list[dict[str, object]] = []
    if instruction:
        messages.append({"role": "system", "content": instruction})
    for i, turn in enumerate(turns):
        speaker = turn.get("from") if isinstance(turn, dict) else None
        if not isinstance(turn, dict) or not isinstance(speaker, str) or speaker not in SHARE_GPT:
            known = ", ".join(SHARE_GPT)
            raise ValueError(f"conversations[{i}].from is {show(speaker)}: expected one of {known}")
        if not turn.get("value") or not isinstance(turn["value"], str):
            raise ValueError(f"conversations[{i}].value is {show(turn.get('value'))}: expected some text")
        messages.append({"role": SHARE_GPT[speaker], "content": turn["value"]})
    return from_openai(messages)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers; of a line too long, little more than the limit."""
    with path.open("rb") as file:
        number = 0
        while line := _line(file):
            number += 1
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip() or len(line) > LONGEST_LINE:
                yield number, line


def _line(file: BinaryIO) -> bytes:
    line = more = file.readline(LONGEST_LINE + 1)
    while more and not more.endswith(b"\n"):  # the rest of a line too long is passed over
        more = file.readline(LONGEST_LINE + 1)
    return line
