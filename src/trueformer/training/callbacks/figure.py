"""`loss.png`: training and validation loss against steps and tokens, drawn from `metrics.jsonl`.

Drawn from the file, so a resumed run shows its whole history. Leaves out anything interactive.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from trueformer.training.callbacks.json_lines import read_json_lines
from trueformer.training.callbacks.metrics import FILE as METRICS
from trueformer.training.callbacks.protocol import Callback, Evaluate, Start, Stop

FILE = "loss.png"
SECONDS_BETWEEN = 60.0  # drawing takes about half a second
TRAIN, VALIDATION = "#4878a8", "#d1495b"


class LossFigure(Callback):
    """Draws `RUN/loss.png` on rank 0 after an evaluation, at most once a minute, and at the end."""

    name = "figure"

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._drawn = 0.0

    def on_start(self, event: Start) -> None:
        if event.rank == 0:
            self._folder, self._drawn = event.folder, time.monotonic()

    def on_evaluate(self, event: Evaluate) -> None:
        if self._folder is not None and time.monotonic() - self._drawn >= SECONDS_BETWEEN:
            self._draw(self._folder)

    def on_stop(self, event: Stop) -> None:
        if self._folder is not None:
            self._draw(self._folder)

    def _draw(self, folder: Path) -> None:
        if (folder / METRICS).exists():
            draw_losses(read_json_lines(folder / METRICS), folder / FILE)
            self._drawn = time.monotonic()


def draw_losses(records: list[dict[str, Any]], path: Path) -> None:
    """Draw the `step` and `evaluate` records of `metrics.jsonl` into the PNG `path`; nothing without any."""
    from matplotlib.figure import Figure  # slow to import, and needed once a run

    train = _columns(records, "step", "loss")
    validation = _columns(records, "evaluate", "loss")
    if not len(train) and not len(validation):
        return
    figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
    axes = figure.subplots()
    if len(train):
        axes.plot(train[:, 0], train[:, 2], color=TRAIN, alpha=0.25, linewidth=0.8)
        axes.plot(train[:, 0], _smooth(train[:, 2]), color=TRAIN, linewidth=1.6, label="training (smoothed)")
    if len(validation):
        best = validation[validation[:, 2].argmin()]
        axes.plot(
            validation[:, 0], validation[:, 2], color=VALIDATION, marker="o", markersize=3.5, linewidth=1.6,
            label=f"validation, lowest {best[2]:.4f} at step {int(best[0]):,}",
        )  # fmt: skip
    both = np.concatenate([train, validation])
    _decorate(axes, tokens_per_step=both[-1, 1] / max(both[-1, 0], 1))
    new = path.with_name(f".{path.name}.new")
    figure.savefig(new, format="png")
    new.replace(path)


def _decorate(axes: Any, tokens_per_step: float) -> None:
    from matplotlib.ticker import MaxNLocator, NullLocator

    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per token)")
    axes.set_xlim(left=0)
    axes.set_yscale("log")  # the fall at the start would otherwise take most of the height
    axes.yaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right")
    if tokens_per_step > 0:
        scale = (lambda step: step * tokens_per_step, lambda tokens: tokens / tokens_per_step)
        above = axes.secondary_xaxis("top", functions=scale)
        above.set_xlabel("target tokens seen")
        above.xaxis.set_major_formatter(lambda tokens, _: _short(tokens))


def _short(number: float) -> str:
    """Example: 1_500_000 → `1.5M`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def _columns(records: list[dict[str, Any]], event: str, what: str) -> np.ndarray:
    """Rows of (step, tokens, value) of one kind of event; steps without a finite value are left out."""
    rows = [(r["step"], r["tokens"], r[what]) for r in records if r["event"] == event and r[what] is not None]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Exponential average over a fiftieth of the curve; over less where it falls steeply, at its start."""
    smooth = values.copy()
    for i in range(1, len(values)):
        span = 1 + min(i / 10, len(values) / 50)
        smooth[i] = smooth[i - 1] + (values[i] - smooth[i - 1]) / span
    return smooth
