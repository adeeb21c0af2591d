"""Which law is being looked at, on a terminal; nothing where the output is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from trueformer.doctor.report import Result


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[Result], None]]:
    """A bar of `total` laws that moves with each result it is told of."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("laws", total=total)
        yield lambda result: bar.update(task, advance=1, description=result.law.id)
