"""A progress line for work measured in bytes of text."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextlib.contextmanager
def progress_line(about: str, total: int) -> Generator[Callable[[int], None]]:
    """A live line on stderr, where that is a terminal: share, bytes, bytes a second and the time left.

    Gives a function to tell of bytes done.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(about, total=total)
        yield lambda n_bytes: progress.advance(task, n_bytes)


def told(texts: Iterable[str], advance: Callable[[int], None]) -> Iterator[str]:
    """The same texts, each told to `advance` by its size when it is taken."""
    for text in texts:
        advance(len(text.encode()))
        yield text
