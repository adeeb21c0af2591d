"""Clipped gradients are the unclipped ones times one number, and as long as the limit says."""

import random
import tempfile
from pathlib import Path

import torch

from trueformer.hunt.experiments.small import small_run
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model


def probe(pick: random.Random) -> None:
    """The gradients that a step leaves behind, without a limit and with one, below and above the norm."""
    seed, found = pick.randrange(1000), {}
    for limit in (None, pick.uniform(0.02, 0.2), 1e6):
        config, data = small_run(loop={"batch_size": 4, "grad_clip": limit, "seed": seed}, n_layers=1)
        torch.manual_seed(seed)
        model = build_model(config.model, config.loop)
        with tempfile.TemporaryDirectory() as folder:
            Trainer(config, model, data, Path(folder), device=torch.device("cpu")).step()
        found[limit] = torch.cat([p.grad.flatten() for p in model.parameters()])
    whole = found.pop(None)
    for limit, clipped in found.items():
        wanted = whole * min(1.0, limit / float(whole.norm()))
        torch.testing.assert_close(clipped, wanted, rtol=1e-3, atol=1e-7)
