"""Every target of a step counts the same, in whichever micro-batch it lies and however full that is."""

import random

import torch

from trueformer.data.loader import IGNORE, Batch
from trueformer.training.accumulate import accumulate
from trueformer.training.distributed import World


def probe(pick: random.Random) -> None:
    """A linear model whose mean loss over all targets is differentiated at once, and by `accumulate` in parts."""
    model = torch.nn.Linear(1, pick.randrange(3, 8))
    length = pick.randrange(4, 10)
    parts = []
    for _ in range(pick.randrange(2, 5)):
        targets = torch.randint(0, model.out_features, (2, length))
        targets[:, pick.randrange(1, length) :] = IGNORE
        parts.append(Batch(torch.randint(0, 9, (2, length)), targets, None))

    def losses(batch: Batch) -> torch.Tensor:
        logits = model(batch.inputs_BT[..., None].float())
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch.targets_BT.flatten(), ignore_index=IGNORE, reduction="sum"
        )

    count = sum(int((part.targets_BT != IGNORE).sum()) for part in parts)
    mean = torch.stack([losses(part) for part in parts]).sum() / count
    wanted = torch.autograd.grad(mean, list(model.parameters()))
    found = accumulate(losses, model, parts, count, World())
    torch.testing.assert_close(found, mean.detach())
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
