"""Which law is being looked at, on a terminal; nothing where the output is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from trueformer.doctor.report import Result
from trueformer.laws.book import laws


@contextmanager
def progress(stream: TextIO) -> Iterator[Callable[[Result], None]]:
    """A bar that moves with each result it is told of."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(file=stream),
        transient=True,
        disable=not stream.isatty(),
    )
    with bar:
        task = bar.add_task("laws", total=len(laws()))
        yield lambda result: bar.update(task, advance=1, description=result.law.id)
