"""A callback hears of everything once, in the first call of `fit` and in every other, also after one that failed."""

import random
import tempfile
from collections import Counter
from pathlib import Path

import torch

from trueformer.hunt.experiments.small import small_run
from trueformer.training.callbacks.protocol import Callback, Start, Step, Stop
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model


class _Ear(Callback):
    """Counts what it hears, and fails at a step if it is told to."""

    def __init__(self, name: str) -> None:
        self.name, self.heard, self.fails_at = name, Counter(), 0

    def on_start(self, event: Start) -> None:
        """A beginning."""
        self.heard["start"] += 1

    def on_step(self, event: Step) -> None:
        """A step."""
        self.heard["step"] += 1
        if event.step == self.fails_at:
            raise RuntimeError("as it was told to")

    def on_stop(self, event: Stop) -> None:
        """An end."""
        self.heard["stop"] += 1


def probe(pick: random.Random) -> None:
    """Three calls, the first of which fails, with a callback more in the last."""
    steps = pick.randrange(2, 5)
    config, data = small_run(
        loop={"steps": steps, "batch_size": 2, "eval_every": 100, "eval_batches": 1},
        n_layers=1,
        schedule={"warmup_steps": 0},
    )
    model, first, later = build_model(config.model, config.loop), _Ear("first"), _Ear("later")
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, model, data, Path(folder), device=torch.device("cpu"), callbacks=[first])
        first.fails_at = 1
        try:
            trainer.fit()
        except RuntimeError:
            first.fails_at = 0
        assert first.heard == Counter(start=1, step=1, stop=1), first.heard
        trainer.fit()
        assert first.heard == Counter(start=2, step=steps, stop=2), first.heard
        trainer.callbacks = (*trainer.callbacks, later)
        trainer.progress.step = 0
        trainer.fit()
    assert first.heard == Counter(start=3, step=2 * steps, stop=3), first.heard
    assert later.heard == Counter(start=1, step=steps, stop=1), later.heard
