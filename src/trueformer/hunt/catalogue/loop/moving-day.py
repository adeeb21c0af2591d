"""A trainer's model is on its device from the beginning, and the optimizer holds the very weights that are there."""

import random
from pathlib import Path

import torch

from trueformer.hunt.experiments.small import small_run
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model


def probe(pick: random.Random) -> None:
    """On the device "meta", which needs no hardware and makes new parameters when it is moved to."""
    config, data = small_run(n_layers=pick.randrange(1, 3), tied=pick.random() < 0.5)
    for device in (torch.device("meta"), torch.device("cpu")):
        model = build_model(config.model, config.loop)
        trainer = Trainer(config, model, data, Path("unused"), device=device)
        places = {tensor.device.type for tensor in (*trainer.model.parameters(), *trainer.model.buffers())}
        assert places == {device.type}, f"a trainer for {device} has weights on {places}"
        held = {id(p) for group in trainer.optimizers.param_groups for p in group["params"]}
        assert held == {id(p) for p in trainer.model.parameters()}, "the optimizer holds other weights"
