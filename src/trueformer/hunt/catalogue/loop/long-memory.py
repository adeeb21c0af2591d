"""The gradients of a step are those of its own batch, the second time as the first."""

import random
import tempfile
from pathlib import Path

import torch

from trueformer.hunt.experiments.small import small_run
from trueformer.training.loop import Trainer
from trueformer.training.objective import Objective
from trueformer.training.run import build_model


def probe(pick: random.Random) -> None:
    """Each of three steps reports the norm of the gradient of its mean loss, differentiated here."""
    for rows in (4, 2):
        loop = {"batch_size": 4, "micro_batch_size": rows, "grad_clip": None, "seed": pick.randrange(1000)}
        config, data = small_run(loop=loop, n_layers=1)
        model = build_model(config.model, config.loop)
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(config, model, data, Path(folder), device=torch.device("cpu"))
            batches = data.loader(4, config.loop.seed, trainer.world)
            for _ in range(3):
                batch = next(batches)
                total = Objective(model, config.loop)(batch.inputs_BT, batch.targets_BT, batch.document_BT)
                mean = total / (batch.targets_BT >= 0).sum()
                gradients = torch.autograd.grad(mean, list(model.parameters()))
                wanted = torch.stack([g.norm() for g in gradients]).norm()
                torch.testing.assert_close(trainer.step().grad_norm, float(wanted), rtol=1e-3, atol=1e-5)
