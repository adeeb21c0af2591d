"""Every event of a run as a line of `metrics.jsonl`. Leaves out drawing them: see `figure.py`."""

import dataclasses
import time
from typing import Any

from trueformer.training.callbacks.json_lines import JsonLines
from trueformer.training.callbacks.protocol import Callback, Evaluate, Saved, Start, Step, Stop

FILE = "metrics.jsonl"


class Metrics(Callback):
    """Writes `RUN/metrics.jsonl` on rank 0: `event`, `step`, `time` (Unix) and the event's numbers a line."""

    name = "metrics"

    def __init__(self) -> None:
        self._lines: JsonLines | None = None

    def on_start(self, event: Start) -> None:
        if event.rank == 0:
            self._lines = JsonLines(event.folder / FILE, event.step)
            self._write("start", {"step": event.step, "steps": event.steps})

    def on_step(self, event: Step) -> None:
        self._write("step", dataclasses.asdict(event))

    def on_evaluate(self, event: Evaluate) -> None:
        self._write("evaluate", dataclasses.asdict(event))

    def on_checkpoint(self, event: Saved) -> None:
        self._write("saved", {"step": event.step, "name": event.path.name, "seconds": event.seconds})

    def on_stop(self, event: Stop) -> None:
        self._write("stop", dataclasses.asdict(event))
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def _write(self, kind: str, values: dict[str, Any]) -> None:
        if self._lines is not None:
            self._lines.write({"event": kind, "time": round(time.time(), 3)} | values)
