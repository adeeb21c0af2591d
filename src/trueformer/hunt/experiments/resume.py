"""The same run twice: once in one go, once stopped halfway and gone on with from its checkpoint."""

from pathlib import Path
from typing import Any

from trueformer.tokenization.load import load_tokenizer
from trueformer.training.callbacks.protocol import Callback, Start, Step
from trueformer.training.checkpoints import Checkpoint, latest_checkpoint
from trueformer.training.loop import Trainer

from .pretrain import stories, trainer
from .report import Findings

USUAL = {"steps": 60, "eval_every": 30}


class StopAt(Callback):
    """Asks for a checkpoint and the end after a step."""

    name = "stop"

    def __init__(self, step: int) -> None:
        self.step = step

    def on_start(self, event: Start) -> None:
        """Where to ask."""
        self.control = event.control

    def on_step(self, event: Step) -> None:
        """Asks when it is time."""
        if event.step == self.step:
            self.control.request_save()
            self.control.request_stop("halfway")


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """How far the second half after a stop is from the second half without one; 0 everywhere when nothing is forgotten."""
    wanted = {**settings, "loop": {**USUAL, **settings.get("loop", {})}}
    half = wanted["loop"]["steps"] // 2
    whole, watch = trainer(wanted, seed, folder / "whole")
    whole.fit()
    first, before = trainer(wanted, seed, folder / "parts")
    first.callbacks = (*first.callbacks, StopAt(half))
    first.fit()
    second, after = trainer(wanted, seed, folder / "parts")
    checkpoint = latest_checkpoint(folder / "parts")
    if checkpoint is not None:
        second.load(checkpoint)
    second.fit()
    straight = [step.loss for step in watch.steps]
    parts = [step.loss for step in [*before.steps, *after.steps]]
    shared = min(len(straight), len(parts))
    rates = [step.lr_factor for step in [*before.steps, *after.steps]]
    pairs = zip(whole.model.parameters(), second.model.parameters(), strict=True)
    numbers = {
        "steps_in_one_go": float(len(straight)),
        "steps_in_parts": float(len(parts)),
        "loss_gap": max(abs(a - b) for a, b in zip(straight[:shared], parts[:shared], strict=True)),
        "loss_gap_at_once": abs(straight[half] - parts[half]) if shared > half else float("inf"),
        "rate_gap": max(abs(s.lr_factor - r) for s, r in zip(watch.steps, rates, strict=False)),
        "weights_gap": max(float((a - b).detach().abs().max()) for a, b in pairs),
        "validation_gap": abs(watch.evaluations[-1].loss - after.evaluations[-1].loss),
        "tokens_gap": float(abs(watch.steps[-1].tokens - after.steps[-1].tokens)),
        "texts_read_otherwise": _read_otherwise(first, checkpoint),
    }
    return Findings(numbers=numbers, curves={"loss": {"in one go": straight, "in parts": parts}})


def _read_otherwise(run: Trainer, checkpoint: Checkpoint | None) -> float:
    """Of 20 texts in the run's ids, how many the checkpoint's own tokenizer reads as something else."""
    if checkpoint is None or checkpoint.tokenizer_path is None:
        return 20.0
    theirs, ours = load_tokenizer(checkpoint.tokenizer_path), run.data.tokenizer
    return float(sum(theirs.decode(ours.encode(text)) != text for text in stories(20, 7)))
