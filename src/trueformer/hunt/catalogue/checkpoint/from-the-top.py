"""A run that was resumed counts on: steps, tokens, and how many steps were skipped."""

import dataclasses
import random
import tempfile
from pathlib import Path

import torch

from trueformer.hunt.experiments.small import small_run
from trueformer.training.checkpoints import latest_checkpoint
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model


def probe(pick: random.Random) -> None:
    """Counters of any value come back in another run, which then takes the steps that are left and no more."""
    left = pick.randrange(1, 4)
    loop = {"batch_size": pick.choice([1, 2]), "seed": pick.randrange(99), "steps": 20}
    config, data = small_run(n_layers=1, loop=loop, max_len=16)
    with tempfile.TemporaryDirectory() as name:
        runs = [
            Trainer(
                config, build_model(config.model, config.loop), data, Path(name), device=torch.device("cpu")
            )
            for _ in range(2)
        ]
        counted = {"tokens": pick.randrange(1000), "skipped": pick.randrange(5), "bad_in_a_row": 1}
        runs[0].progress = dataclasses.replace(runs[0].progress, step=20 - left, **counted)
        runs[0].save()
        checkpoint = latest_checkpoint(Path(name))
        assert checkpoint is not None
        runs[1].load(checkpoint)
    found = dataclasses.asdict(runs[1].progress)
    assert found == {"step": 20 - left, **counted}, found
    assert runs[1].step().step == 21 - left
