"""The text files of a workspace: which there are, read, saved without loss, and what was changed.

A file is asked for by its path in the workspace, and only those that `listed` has are there to be asked for: none
outside, none behind a link. Leaves out editing (the page) and git.
"""

import difflib
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

PLACES = ("run.py", "settings.json", "trueformer", "experiment")
SUFFIXES = (".py", ".json", ".toml", ".txt", ".md")
MOST = 2**20  # bytes of a file that can be shown


class Changed(ValueError):
    """A file is no longer what it was when it was read."""


def listed(folder: Path) -> list[str]:
    """The paths of all text files that a hunter may read and edit, in the order of `PLACES`."""
    return [path.relative_to(folder).as_posix() for place in PLACES for path in _under(folder / place)]


def _under(path: Path) -> Iterator[Path]:
    if path.is_symlink():
        return
    if path.is_dir():
        for below in sorted(path.iterdir(), key=lambda inside: (inside.is_dir(), inside.name)):
            yield from _under(below)
    elif path.is_file() and path.suffix in SUFFIXES:
        yield path


def read(folder: Path, name: str) -> tuple[str, str]:
    """The text of a file, and the version that a later `save` must name.

    Raises:
        ValueError: there is no such file here, it is no text, or too long.
    """
    data = _bytes(folder, name)
    try:
        return data.decode("utf-8"), _version(data)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is no text: expected UTF-8") from error


def save(folder: Path, name: str, text: str, version: str) -> str:
    """Writes a file, whole or not at all; returns its new version.

    Raises:
        Changed: it is not of this version any more; nothing is written.
        ValueError: there is no such file here, or the text is too long.
    """
    data = text.encode("utf-8")
    if len(data) > MOST:
        raise ValueError(f"{name} would have {len(data)} bytes: expected at most {MOST}")
    if _version(_bytes(folder, name)) != version:
        raise Changed(f"{name} was changed on disk after it was read here: nothing is saved")
    beside = folder / f"{name}.new"
    beside.write_bytes(data)
    shutil.copymode(folder / name, beside)
    beside.replace(folder / name)
    return _version(data)


def _bytes(folder: Path, name: str) -> bytes:
    if name not in listed(folder):
        raise ValueError(f"there is no file {name!r} in this workspace: expected one of its list")
    path = folder / name
    if path.stat().st_size > MOST:
        raise ValueError(f"{name} has {path.stat().st_size} bytes: expected at most {MOST}")
    return path.read_bytes()


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def states(folder: Path, before: Mapping[str, str]) -> list[dict[str, str]]:
    """Each file with its version and its state against `before`: "" (as it was), "changed", "new" or "gone"."""
    rows = []
    for name in listed(folder):
        data = (folder / name).read_bytes()
        was = before.get(name)
        state = "new" if was is None else "" if data == was.encode() else "changed"
        rows.append({"path": name, "version": _version(data), "state": state})
    there = {row["path"] for row in rows}
    return rows + [{"path": name, "version": "", "state": "gone"} for name in before if name not in there]


def difference(folder: Path, before: Mapping[str, str]) -> str:
    """What was changed since `before`, as one diff; what is no text is left out."""
    lines: list[str] = []
    for row in states(folder, before):
        if row["state"]:
            name = row["path"]
            now = "" if row["state"] == "gone" else (folder / name).read_bytes().decode("utf-8", "replace")
            was = before.get(name, "")
            lines += difflib.unified_diff(
                was.splitlines(), now.splitlines(), f"{name} as it was", name, lineterm=""
            )
    return "\n".join(lines)
