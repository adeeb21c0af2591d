"""A tied matrix gets the gradient of both of its uses, through logits and through the training loss alike."""

import random

import torch
import torch.nn.functional as F

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.training.config import LoopConfig
from trueformer.training.objective import Objective


def probe(pick: random.Random) -> None:
    """Every row has a gradient, and both ways have the same; an untied head learns, too."""
    for tied in (True, False):
        config = DecoderConfig(
            vocab_size=pick.randrange(20, 60), max_len=16, d_model=16, n_layers=1, n_heads=2, tied=tied
        )
        model = DecoderLM(config, backend="plain")
        ids, targets = torch.randint(8, (2, 2, pick.randrange(4, 12)))
        loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), reduction="sum")
        matrix = model.embedding.weight if tied else model.head.weight
        direct = torch.autograd.grad(loss, matrix)[0]
        objective = Objective(model, LoopConfig(steps=1, batch_size=2, backend="plain"))
        trained = torch.autograd.grad(objective(ids, targets, None), matrix)[0]
        assert direct.any(-1).all(), "rows of the head do not learn"
        torch.testing.assert_close(trained, direct, atol=1e-4, rtol=1e-3)
