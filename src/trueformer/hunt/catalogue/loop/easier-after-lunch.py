"""Evaluation runs in evaluation mode, leaves every part of the model in the mode it was in, and steps train."""

import random
import tempfile
from pathlib import Path

import torch

from trueformer.hunt.experiments.small import small_run
from trueformer.training.callbacks.protocol import Callback
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model


class _Modes(Callback):
    """Notes the model's mode whenever gradients are there."""

    name = "modes"

    def __init__(self, model: torch.nn.Module) -> None:
        self.model, self.seen = model, []

    def on_gradients(self, step: int) -> None:
        """One more."""
        self.seen.append(self.model.training)


def probe(pick: random.Random) -> None:
    """Modes at random stay as they are, dropout is off meanwhile, and a short run is in training mode in all steps."""
    config, data = small_run(
        loop={"steps": 3, "batch_size": 4, "eval_every": 1, "eval_batches": 1},
        n_layers=1,
        dropout=0.5,
        schedule={"warmup_steps": 0},
    )
    model = build_model(config.model, config.loop)
    notes = _Modes(model)
    with tempfile.TemporaryDirectory() as folder:
        cpu = torch.device("cpu")
        trainer = Trainer(config, model, data, Path(folder), device=cpu, callbacks=[notes])
        for module in model.modules():
            module.training = pick.random() < 0.5
        before = [module.training for module in model.modules()]
        first, second = trainer.evaluate().nats, trainer.evaluate().nats
        assert first == second, "dropout is on while evaluating"
        assert before == [module.training for module in model.modules()], "evaluation changed a mode"
        model.train()
        trainer.fit()
    assert notes.seen == [True] * 3, "a step of a run was not in training mode"
