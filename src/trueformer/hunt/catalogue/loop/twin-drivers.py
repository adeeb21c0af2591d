"""What a checkpoint holds of the optimizer is what moves the weights: a run goes on from it exactly."""

import random
import tempfile
from pathlib import Path

import torch

from trueformer.hunt.experiments.small import small_run
from trueformer.training.checkpoints import load_checkpoint
from trueformer.training.folders import checkpoint_folders
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model


def probe(pick: random.Random) -> None:
    """The moments after a step are those of its gradients; two more steps are equal with and without a break."""
    config, data = small_run(
        optimizer=pick.choice(["adamw", "muon"]), n_layers=1, loop={"batch_size": 2, "grad_clip": None}
    )

    def trainer(folder: str) -> Trainer:
        model = build_model(config.model, config.loop)
        return Trainer(config, model, data, Path(folder), device=torch.device("cpu"))

    with tempfile.TemporaryDirectory() as folder:
        whole = trainer(folder)
        whole.step()
        saved, _ = whole.optimizers.state_dict()
        weight = whole.model.final_norm.weight
        torch.testing.assert_close(saved["final_norm.weight.mean"], (1 - config.optim.beta1) * weight.grad)
        for _ in range(pick.randrange(1, 3)):
            whole.step()
        whole.save()
        other = trainer(folder)
        other.load(load_checkpoint(checkpoint_folders(Path(folder))[0]))
        for _ in range(2):
            one, two = whole.step(), other.step()
            assert one.loss == two.loss, f"step {one.step}: {one.loss} without a break, {two.loss} with one"
        for a, b in zip(whole.model.parameters(), other.model.parameters(), strict=True):
            assert torch.equal(a, b), "the weights differ after the break"
