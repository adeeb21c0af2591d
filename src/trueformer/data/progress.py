"""Progress lines on stderr: for work measured in bytes of text, and for work that is counted."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextlib.contextmanager
def progress_line(about: str, total: int) -> Generator[Callable[[int], None]]:
    """A live line on stderr, where that is a terminal: share, bytes, bytes a second and the time left.

    Gives a function to tell of bytes done.
    """
    columns = (DownloadColumn(), TransferSpeedColumn())
    with _line(about, total, columns) as advance:
        yield advance


@contextlib.contextmanager
def count_line(about: str, total: int) -> Generator[Callable[[int], None]]:
    """The same with how many of `total` are done. Gives a function to tell of more of them."""
    with _line(about, total, (MofNCompleteColumn(),)) as advance:
        yield advance


@contextlib.contextmanager
def _line(about: str, total: int, amounts: tuple[ProgressColumn, ...]) -> Generator[Callable[[int], None]]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), *amounts, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(about, total=total)
        yield lambda done: progress.advance(task, done)


def told(texts: Iterable[str], advance: Callable[[int], None]) -> Iterator[str]:
    """The same texts, each told to `advance` by its size when it is taken."""
    for text in texts:
        advance(len(text.encode()))
        yield text
