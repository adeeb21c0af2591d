"""What is known of each hunt: a file a workspace in the user's state folder, out of the workspace itself.

A workspace holds only a random name for itself, so nothing in it says which bug it has. Leaves out scores (`score.py`).
"""

import dataclasses
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trueformer


@dataclass(kw_only=True, slots=True)
class Record:
    """One hunt: what was planted, and what the hunter did. Times are seconds since 1970, spans seconds."""

    name: str
    bugs: list[str]
    levels: list[str]  # of the bugs, in their order: points stay when the catalogue changes
    workspace: str
    version: str = trueformer.__version__
    interview: str = ""  # the name of the one that it belongs to
    allowed: int | None = None  # hints, while that interview is on; nothing is revealed then
    shown: bool = True  # whether the case was chosen by its id, which is then no secret
    minutes: int | float | None = None
    started: float = field(default_factory=time.time)
    checks: int = 0
    hints: int = 0
    repaired: list[str] = field(default_factory=list)
    solved_at: float | None = None
    revealed: bool = False
    sources: dict[str, str] = field(default_factory=dict)  # as they were handed out

    @property
    def taken(self) -> float:
        """Seconds until it was solved, or until now."""
        return (self.solved_at or time.time()) - self.started

    def save(self) -> None:
        """Writes it, whole or not at all."""
        write(_path(self.name), dataclasses.asdict(self))


def write(path: Path, data: dict[str, Any]) -> None:
    """Writes an object as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(data), encoding="utf-8")
    beside.replace(path)


def state_folder() -> Path:
    """Where records are kept."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "trueformer" / "hunt"


def load(name: str) -> Record:
    """The record of that name.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    path = _path(name)
    if not path.is_file():
        raise ValueError(
            f"there is no record of this hunt ({path}): it was started on another machine or account, or the record was "
            "deleted; start the case anew with `trueformer hunt start`, your files stay"
        )
    return _read(path)


def every() -> list[Record]:
    """All records of the user's own hunts, not those of interviews; the oldest first."""
    found = (record for record in map(_read, state_folder().glob("*.json")) if not record.interview)
    return sorted(found, key=lambda record: record.started)


def _read(path: Path) -> Record:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Record(**data)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is no record of a hunt: {error}; delete it and start the case anew"
        ) from error


def _path(name: str) -> Path:
    if not name.isalnum():
        raise ValueError(f"{name!r} is no name of a hunt: expected letters and digits")
    return state_folder() / f"{name}.json"
