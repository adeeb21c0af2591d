"""What the user typed before, for the arrow keys: kept between chats in a file that only they can read.

The file is `$XDG_STATE_HOME/trueformer/chat_history` (`~/.local/state` where that is unset): a JSON string a
line, so that a message of several lines is one entry. Where it cannot be read or written there is no history,
and no error. Leaves out the keys, which are readline's.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

MOST_ENTRIES = 1000
MOST_CHARACTERS = 10_000  # of an entry; a longer one is not kept
MOST_BYTES = 4 * 2**20  # of a file that is read


def history_path() -> Path:
    """Where it lies."""
    state = os.environ.get("XDG_STATE_HOME", "")
    # A relative path is to be ignored, says the XDG specification.
    folder = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return folder / "trueformer" / "chat_history"


class History:
    """The entries of the file at `path`, oldest first; `add` writes each at once, so that none is lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: list[str] = []
        with suppress(OSError):
            with path.open("rb") as file:
                lines = file.read(MOST_BYTES).splitlines()
            self.entries = [entry for line in lines if (entry := _entry(line))][-MOST_ENTRIES:]
            if len(lines) > MOST_ENTRIES:
                self._write("".join(map(_line, self.entries)), os.O_TRUNC)

    def add(self, text: str) -> bool:
        """Keep what was typed, unless it is what was typed before, or very long; whether it is an entry."""
        if not text.strip() or len(text) > MOST_CHARACTERS or self.entries[-1:] == [text]:
            return False
        self.entries.append(text)
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._write(_line(text), os.O_APPEND)
        return True

    def _write(self, text: str, how: int) -> None:
        with os.fdopen(
            os.open(self._path, os.O_WRONLY | os.O_CREAT | how, 0o600), "w", encoding="ascii"
        ) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)


def _line(text: str) -> str:
    return json.dumps(text) + "\n"


def _entry(line: bytes) -> str:
    """The entry of a line; empty where the line is none."""
    try:
        text = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return text.replace("\0", "") if isinstance(text, str) and len(text) <= MOST_CHARACTERS else ""
