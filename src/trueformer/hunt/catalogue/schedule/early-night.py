"""The rate of a step is the schedule's for that step, however many micro-batches the step has."""

import random
import tempfile
from pathlib import Path

import torch

from trueformer.hunt.experiments.small import small_run
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model


def probe(pick: random.Random) -> None:
    """Warm-up and linear decay written out beside the rates that three steps report."""
    warmup, steps, rows = pick.randrange(2, 9), pick.randrange(20, 60), pick.choice([1, 2, 4])
    config, data = small_run(
        loop={"steps": steps, "batch_size": 4, "micro_batch_size": rows},
        schedule={"warmup_steps": warmup, "kind": "linear"},
        n_layers=1,
    )
    model = build_model(config.model, config.loop)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, model, data, Path(folder), device=torch.device("cpu"))
        for step in sorted(pick.sample(range(steps), 3)):
            trainer.progress.step = step
            wanted = min((step + 1) / warmup, (steps - 1 - step) / (steps - warmup))
            assert abs(trainer.step().lr_factor - wanted) < 1e-6, f"step {step} of {steps}"
