"""What the model writes while it learns, printed and in `samples.jsonl`. Leaves out how it is sampled."""

from collections.abc import Callable

from rich import get_console
from rich.console import Console

from trueformer.training.callbacks.json_lines import JsonLines
from trueformer.training.callbacks.protocol import Callback, Start, Step, Stop

FILE = "samples.jsonl"


class Sample(Callback):
    """Calls `sample()` on rank 0 every `every` steps (0: never) and at the end; prints and keeps the text.

    `sample` must leave the run's random numbers and the model's mode as they were.
    """

    name = "sample"

    def __init__(self, sample: Callable[[], str], *, every: int, console: Console | None = None) -> None:
        self.sample = sample
        self.every = every
        self.console = console or get_console()
        self._lines: JsonLines | None = None
        self._last = -1

    def on_start(self, event: Start) -> None:
        if event.rank == 0:
            self._lines = JsonLines(event.folder / FILE, event.step)

    def on_step(self, event: Step) -> None:
        if self.every and event.step % self.every == 0:
            self._write(event.step)

    def on_stop(self, event: Stop) -> None:
        if event.step != self._last and not event.failed:
            self._write(event.step)
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def _write(self, step: int) -> None:
        if self._lines is None:
            return
        text, self._last = self.sample(), step
        self._lines.write({"step": step, "text": text})
        self.console.rule(f"sample at step {step}", align="left")
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self.console.rule()
