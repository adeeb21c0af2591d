"""What a candidate hands in, read as a stranger's: no link is followed, whatever is swapped while it is read, sizes are
bounded, and nothing but the Python files of the project is looked at.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trueformer.hunt.workspace import PACKAGE

LARGEST = 400_000  # bytes of a file; the project's largest is a tenth of that
MOST_FILES = 500
DEEPEST = 8  # folders in folders


@dataclass(frozen=True, kw_only=True, slots=True)
class HandedIn:
    """The Python files of a case by path, and why it cannot be graded; empty where it can."""

    sources: dict[str, str] = field(default_factory=dict)
    wrong: str = ""


def handed_in(folder: Path, case: str) -> HandedIn:
    """What lies in `folder`/`case`/trueformer now."""
    found: dict[str, str] = {}
    try:
        with (
            _folder(str(folder)) as interview,
            _folder(case, interview) as workspace,
            _folder(PACKAGE, workspace) as package,
        ):
            for path, text in _files(package, "", 0):
                found[path] = text
                if len(found) > MOST_FILES:
                    raise ValueError(
                        f"{case} has more than {MOST_FILES} Python files: remove what is not its own"
                    )
    except (OSError, ValueError) as error:
        return HandedIn(sources=found, wrong=_told(error, case))
    return HandedIn(sources=found)


def _told(error: OSError | ValueError, case: str) -> str:
    if isinstance(error, ValueError):
        return str(error)
    return (
        f"{case}/{PACKAGE} cannot be read ({error.strerror}: {error.filename}): it must be a folder of plain files; "
        f"`git checkout -- {PACKAGE}` in {case} brings them back"
    )


@contextmanager
def _folder(name: str, inside: int | None = None) -> Iterator[int]:
    """A descriptor of a folder that is no link."""
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inside)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _files(folder: int, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    """Every Python file under a folder; byte code is not looked at."""
    if depth > DEEPEST:
        raise ValueError(f"{prefix} lies too deep: expected at most {DEEPEST} folders in each other")
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = prefix + entry.name
        if entry.name.endswith(".py"):
            yield path, _text(entry.name, folder, path)
        elif entry.is_symlink():
            raise ValueError(f"{PACKAGE}/{path} is a link: expected a folder or a file of its own")
        elif entry.is_dir(follow_symlinks=False) and entry.name != "__pycache__":
            with _folder(entry.name, folder) as deeper:
                yield from _files(deeper, f"{path}/", depth + 1)


def _text(name: str, folder: int, path: str) -> str:
    """A file's text; what is not text reads as something else, which no parser takes."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        known = os.fstat(descriptor)
        if not stat.S_ISREG(known.st_mode) or known.st_size > LARGEST:
            raise ValueError(
                f"{PACKAGE}/{path} is no file, or is larger than {LARGEST:,} bytes: expected source"
            )
        return file.read(LARGEST).decode("utf-8", "replace")
