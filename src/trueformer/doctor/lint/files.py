"""Which files are read, and their text: Python as it is, the code cells of a notebook one below the other.

Leaves out other cells, cells in other languages and lines that are no Python (`%` and `!`).
"""

import json
import os
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path

SKIPPED = {
    ".venv",
    "venv",
    ".git",
    "node_modules",
    "__pycache__",
    "build",
    "dist",
    ".tox",
    ".nox",
    "site-packages",
}
LARGEST = 20_000_000
MAGIC = re.compile(r"^(\s*)(?:[%!?]|[\w.,\s]+=\s*[%!]|\w[\w.]*\?+\s*$).*$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The text of a file; for a notebook also which cell and line each line came from."""

    text: str
    cells: tuple[tuple[int, int], ...] = ()


def find(paths: Iterable[Path], exclude: Iterable[str] = (), root: Path = Path()) -> Iterator[Path]:
    """The files to read: those named, and *.py and *.ipynb in the folders named, each once.

    What fits a pattern of `exclude`, below the root, is left out.

    Raises:
        ValueError: a path is not there.
    """
    patterns, seen = tuple(exclude), set()
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path} is not there: expected a file or a folder of Python")
        for file in [path] if path.is_file() else _below(path):
            if file not in seen and not matches(file, patterns, root):
                seen.add(file)
                yield file


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        yield from (Path(where) / name for name in sorted(files) if name.endswith((".py", ".ipynb")))


def matches(path: Path, patterns: Iterable[str], root: Path) -> bool:
    """Whether a path, or a folder it lies in below the root, fits a pattern; `tests` and `*/old_*.py` are two."""
    whole = path.resolve()
    name = (whole.relative_to(root.resolve()) if whole.is_relative_to(root.resolve()) else path).as_posix()
    return any(
        fnmatch(f"/{name}", f"*/{pattern.rstrip('/')}{end}") for pattern in patterns for end in ("", "/*")
    )


def read(path: Path) -> Source:
    """The text of a file.

    Raises:
        OSError: it cannot be read.
        ValueError, SyntaxError: it is too large, no text, or no notebook; the message says which.
    """
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"it has {size / 1e6:.0f} MB: expected {LARGEST / 1e6:.0f} at most")
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        return _notebook(content)
    encoding, _ = tokenize.detect_encoding(BytesIO(content).readline)
    return Source(text=content.decode(encoding))


def _notebook(content: bytes) -> Source:
    try:
        cells = json.loads(content)["cells"]
        codes = [(i, _joined(c["source"])) for i, c in enumerate(cells, 1) if c["cell_type"] == "code"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is no notebook: {type(error).__name__} {error}") from None
    lines, places = [], []
    for number, code in codes:
        foreign = code.lstrip().startswith("%%")
        for line, text in enumerate(code.splitlines(), 1):
            lines.append("" if foreign else MAGIC.sub(r"\1pass", text))
            places.append((number, line))
    return Source(text="\n".join(lines) + "\n", cells=tuple(places))


def _joined(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)
