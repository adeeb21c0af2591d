"""Conversations on disk, for `/save` and `/load`: JSONL in OpenAI's format, one conversation a line.

Saving adds a line and never overwrites; a file that holds anything but conversations is left alone. Such a
file is what `trueformer finetune` learns from. Leaves out the format (`data/chats`).
"""

import json
from pathlib import Path

from trueformer.data.chats.jsonl import read_conversations
from trueformer.data.chats.openai_messages import to_openai
from trueformer.tokenization.conversations import Conversation

MOST_BYTES = 64 * 2**20  # of a file that is read


def save(conversation: Conversation, path: Path) -> int:
    """Add the conversation as the file's last line; returns how many it then holds.

    Raises:
        ValueError: the file is there and holds something else. OSError: it cannot be written.
    """
    n_before, start = 0, ""
    if path.exists() and (not path.is_file() or path.stat().st_size):
        n_before = len(_read(path))
        start = "" if path.read_bytes().endswith(b"\n") else "\n"
    line = json.dumps({"messages": to_openai(conversation)}, ensure_ascii=False)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{start}{line}\n")
    return n_before + 1


def load(path: Path) -> Conversation:
    """The file's last conversation.

    Raises:
        ValueError: it holds none, or something else. OSError: it cannot be read.
    """
    return _read(path)[-1]


def _read(path: Path) -> list[Conversation]:
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file: expected one of conversations, one a line")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(
            f"{path} has more than {MOST_BYTES >> 20} MiB: expected a smaller file of conversations"
        )
    return read_conversations(path).conversations
