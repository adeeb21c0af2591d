"""Documents from files: .txt and .md, .jsonl with a "text" field, .parquet with a "text" column.

A text file of up to `LONGEST` characters is one document. A longer one is cut into documents of about that
size, at blank lines where it has them, else at line ends, else at spaces, so that one big file still gives a
training and a validation split; joined, the documents are the file. White space alone is no document.

Leaves out encodings other than UTF-8 (a byte-order mark is dropped).
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

LONGEST = 8192  # characters
SUFFIXES = (".txt", ".md", ".jsonl", ".parquet")
BREAKS = ("\n\n", "\r\n\r\n", "\n", " ")  # where a long text is cut, best first


def read_documents(files: Iterable[Path]) -> Iterator[str]:
    """The documents of `files`, in order.

    Raises:
        ValueError: a file of another kind, or not what its name says; names the file and the place.
    """
    readers = {".jsonl": _jsonl, ".parquet": _parquet}
    for file in files:
        if file.suffix not in SUFFIXES:
            raise ValueError(f"{file} ends in {file.suffix!r}: expected one of {', '.join(SUFFIXES)}")
        yield from (text for text in readers.get(file.suffix, _text)(file) if text.strip())


def cut(blocks: Iterable[str]) -> Iterator[str]:
    """Cut a text, given in blocks, into documents of at most `LONGEST` characters; joined, the text again."""
    rest = ""
    for block in blocks:
        rest += block
        start = 0
        while len(rest) - start > LONGEST:
            end = _end(rest, start)
            yield rest[start:end]
            start = end
        rest = rest[start:]
    yield rest


def _end(text: str, start: int) -> int:
    """Where to cut: after the last good break in the second half of the next `LONGEST` characters."""
    for mark in BREAKS:
        found = text.rfind(mark, start + LONGEST // 2, start + LONGEST)
        if found >= 0:
            return found + len(mark)
    return start + LONGEST


def _text(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8-sig", newline="") as opened:  # newline="": line ends stay as they are
        try:
            yield from cut(iter(lambda: opened.read(2**20), ""))
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8 ({error.reason}): convert it, or leave it out") from error


def _jsonl(file: Path) -> Iterator[str]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _jsonl_text(line, f"{file}, line {number}")


def _jsonl_text(line: bytes, where: str) -> str:
    try:
        text = json.loads(line)["text"]
        text.encode()  # JSON can spell lone surrogates, which are no text
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{where}: expected an object with a "text" string, such as {{"text": "…"}}'
        ) from error
    return text


def _parquet(file: Path) -> Iterator[str]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(f'{file} needs pyarrow: pip install "trueformer[parquet]"') from error
    table = parquet.ParquetFile(file)
    if "text" not in table.schema_arrow.names:
        raise ValueError(
            f'{file} has columns {", ".join(table.schema_arrow.names)}: expected one named "text"'
        )
    for batch in table.iter_batches(columns=["text"]):
        yield from (text for text in batch.column(0).to_pylist() if text is not None)
