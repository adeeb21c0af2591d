"""Every group of parameters is moved at its own peak rate times the schedule's factor, whatever its rule."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig


def probe(pick: random.Random) -> None:
    """The same first step at the whole rate and at a share of it, without decay, by all three optimizers."""
    share = pick.uniform(0.05, 0.6)
    config = DecoderConfig(vocab_size=19, max_len=8, d_model=16, n_layers=1, n_heads=2, norm="layernorm")
    for name in ("adamw", "muon", "adamuon"):
        model = DecoderLM(config, backend="plain")
        start = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        slopes = [torch.randn_like(parameter) for parameter in model.parameters()]
        moves = []
        for factor in (1.0, share):
            model.load_state_dict(start)
            optimizer = build_optimizer(model, OptimConfig(name=name, weight_decay=0.0), "plain")
            for parameter, slope in zip(model.parameters(), slopes, strict=True):
                parameter.grad = slope.clone()
            optimizer.step(factor)
            moves.append({key: p.detach() - start[key] for key, p in model.named_parameters()})
        for key, whole in moves[0].items():
            torch.testing.assert_close(moves[1][key], share * whole, rtol=1e-3, atol=1e-6)
