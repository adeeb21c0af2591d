"""A checkpoint with a tensor too few or too many is refused, of the model and of the optimizer, and changes nothing."""

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
    """Any tensor may be the one; as it was saved, the checkpoint loads."""
    loop = {"batch_size": 1, "seed": pick.randrange(99)}
    config, data = small_run(n_layers=1, d_model=pick.choice([16, 24]), n_heads=2, loop=loop)
    with tempfile.TemporaryDirectory() as name:
        run = Trainer(
            config, build_model(config.model, config.loop), data, Path(name), device=torch.device("cpu")
        )
        run.step()
        run.save()
        checkpoint = latest_checkpoint(Path(name))
    assert checkpoint is not None
    before = [p.detach().clone() for p in run.model.parameters()]
    for part in ("model_tensors", "optimizer_tensors"):
        tensors = getattr(checkpoint, part)
        lost = pick.choice(sorted(tensors))
        fewer = {key: tensor for key, tensor in tensors.items() if key != lost}
        more = {**tensors, "blocks.7.new": torch.ones(3)}
        for changed in (fewer, more):
            other = dataclasses.replace(checkpoint, **{part: changed})
            _refused(lambda other=other: run.load(other))
            if part == "optimizer_tensors":
                _refused(lambda c=changed: run.optimizers.load_state_dict(c, checkpoint.state["optimizer"]))
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
    run.load(checkpoint)


def _refused(action) -> None:
    try:
        action()
    except (ValueError, RuntimeError, KeyError):
        return
    raise AssertionError("a checkpoint that does not fit was loaded")
