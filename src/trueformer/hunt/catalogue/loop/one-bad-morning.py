"""A step that is not finite changes nothing, and the gradients of the next one are its own."""

import random
import tempfile
from pathlib import Path

import torch

from trueformer.hunt.experiments.small import small_run
from trueformer.training.callbacks.protocol import Callback
from trueformer.training.loop import Trainer
from trueformer.training.objective import Objective
from trueformer.training.run import build_model


class _Spoil(Callback):
    """Makes an entry of one parameter's gradient infinite or NaN, in one step."""

    name = "spoil"

    def __init__(self, parameter: torch.nn.Parameter, step: int, value: float) -> None:
        self.parameter, self.step, self.value = parameter, step, value

    def on_gradients(self, step: int) -> None:
        """When it is time."""
        if step == self.step:
            self.parameter.grad.view(-1)[0] = self.value


def probe(pick: random.Random) -> None:
    """Weights stay through the bad step; the step after it reports the norm that is differentiated here, and moves."""
    seed, bad = pick.randrange(1000), pick.randrange(1, 4)
    config, data = small_run(
        loop={"batch_size": 4, "micro_batch_size": pick.choice([2, 4]), "grad_clip": None, "seed": seed},
        n_layers=1,
    )
    model = build_model(config.model, config.loop)
    spoil = _Spoil(pick.choice(list(model.parameters())), bad, pick.choice([float("nan"), float("inf")]))
    with tempfile.TemporaryDirectory() as folder:
        cpu = torch.device("cpu")
        trainer = Trainer(config, model, data, Path(folder), device=cpu, callbacks=[spoil])
        batches = data.loader(4, seed, trainer.world)
        for number in range(1, bad + 3):
            batch = next(batches)
            total = Objective(model, config.loop)(batch.inputs_BT, batch.targets_BT, batch.document_BT)
            mean = total / (batch.targets_BT >= 0).sum()
            gradients = torch.autograd.grad(mean, list(model.parameters()))
            norm = torch.stack([g.norm() for g in gradients]).norm()
            before = [p.detach().clone() for p in model.parameters()]
            step = trainer.step()
            still = all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
            assert step.skipped == still == (number == bad), f"step {number}: skipped {step.skipped}"
            if number != bad:
                torch.testing.assert_close(step.grad_norm, float(norm), rtol=1e-3, atol=1e-5)
