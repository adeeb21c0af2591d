"""How a run is going, on the terminal: one live line, or plain lines where the output is a file or a pipe.

Leaves out files: see `metrics.py`.
"""

import time
from datetime import timedelta

from rich import get_console
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from trueformer.training.callbacks.protocol import Callback, Evaluate, Start, Step, Stop

PLAIN_LINES = 20  # a run's share of plain lines, besides one every QUIET seconds
QUIET = 30.0  # seconds


class Progress(Callback):
    """Shows step, loss, tokens/s and time left on rank 0, and a line for each evaluation."""

    name = "progress"

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or get_console()  # the one that others print through, above the live line
        self._bar: Bar | None = None
        self._shown = False
        self._validation = ""
        self._pace = 0.0  # seconds a step, over the last twenty or so
        self._spoke = 0.0  # when the last plain line was printed, seconds

    def on_start(self, event: Start) -> None:
        """Open the live line, or choose plain lines where nobody watches; rank 0 alone shows."""
        self._shown = event.rank == 0
        if not self._shown:
            return
        if event.step:
            self.console.print(f"resumed at step {event.step} of {event.steps}", highlight=False)
        self._spoke = time.monotonic()
        if self.console.is_terminal:
            self._bar = Bar(
                BarColumn(bar_width=None),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self.console,
                expand=True,
                refresh_per_second=4,
            )
            self._bar.add_task("training", total=event.steps, completed=event.step, numbers="")
            self._bar.start()

    def on_step(self, event: Step) -> None:
        """Bring loss, speed and time left up to date."""
        if not self._shown:
            return
        if event.skipped:
            self.console.print(
                f"step {event.step}: the loss was not finite; the step was skipped", style="yellow"
            )
        self._pace = 0.95 * (self._pace or event.seconds) + 0.05 * event.seconds
        speed = f"{event.tokens_per_second:,.0f} tokens/s"
        numbers = f"{event.step}/{event.steps} · loss {event.loss:.4f}{self._validation} · {speed}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=event.step, numbers=numbers)
        elif self._due(event):
            self._spoke = time.monotonic()
            left = timedelta(seconds=round((event.steps - event.step) * self._pace))
            self.console.print(f"step {numbers} · {left} left", highlight=False, soft_wrap=True)

    def on_evaluate(self, event: Evaluate) -> None:
        """Say the validation loss."""
        if self._shown:
            self._validation = f" · val {event.loss:.4f}"
            self.console.print(
                f"step {event.step}: validation loss {event.loss:.4f} nats/token, "
                f"{event.bits_per_byte:.4f} bits/byte",
                highlight=False,
                soft_wrap=True,
            )

    def on_stop(self, event: Stop) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._shown:
            self.console.print(f"step {event.step}: {event.reason}", highlight=False, soft_wrap=True)

    def _due(self, event: Step) -> bool:
        often = max(1, event.steps // PLAIN_LINES)
        return (
            event.step % often == 0
            or event.step in (1, event.steps)
            or time.monotonic() - self._spoke >= QUIET
        )
