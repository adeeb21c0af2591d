"""What to fine-tune on, by name: tasks and JSONL files alike, and which conversations are held out of it.

Leaves out tokens (`data/chat_rows.py`).
"""

import hashlib
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from trueformer.data.chats.jsonl import read_conversations
from trueformer.data.chats.registry import open_tasks, spelled
from trueformer.tokenization.conversations import Conversation


def gather(sources: Iterable[str], *, skip_bad: int = 0) -> list[Conversation]:
    """The conversations of each source: a task as `open_tasks` has them, or the path of a JSONL file.

    Lines skipped in a file are counted on stderr.

    Raises:
        ValueError: no such task, a line that is no conversation, or a path that is neither.
        OSError: a file cannot be read.
    """
    found: list[Conversation] = []
    for source in sources:
        path = Path(source).expanduser()
        if path.is_file():
            found += _of_file(path, skip_bad)
        elif path.suffix in (".jsonl", ".json") and ":" not in source:
            raise ValueError(f"there is no file {source}: expected JSONL, or a task: {', '.join(spelled())}")
        else:
            found += [c for share in open_tasks([source]) for c in share.train()]
    return found


def _of_file(path: Path, skip_bad: int) -> list[Conversation]:
    result = read_conversations(path, skip_bad=skip_bad)
    if result.skipped:
        number, reason = result.skipped[0]
        more = f" and {len(result.skipped) - 1} more" if len(result.skipped) > 1 else ""
        print(f"{path}: skipped line {number}{more}: {reason}", file=sys.stderr)
    return result.conversations


def hold_out(
    conversations: Sequence[Conversation], fraction: float
) -> tuple[list[Conversation], list[Conversation]]:
    """Those to train on and those held out, at least one of each; equal ones go to the same side.

    Raises:
        ValueError: there are not two different conversations.
    """
    hashes = [hashlib.sha256(repr(conversation).encode()).digest() for conversation in conversations]
    different = sorted(set(hashes))
    if len(different) < 2:
        raise ValueError(
            f"{len(different)} different conversations: expected at least 2, one to train on and one to hold "
            "out"
        )
    n = min(len(different) - 1, math.ceil(fraction * len(different)))
    chosen = set(different[:n])
    pairs = list(zip(conversations, hashes, strict=True))
    return [c for c, h in pairs if h not in chosen], [c for c, h in pairs if h in chosen]
