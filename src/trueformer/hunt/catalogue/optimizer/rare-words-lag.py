"""Hidden matrices are moved by the chosen rule, and the tables of tokens row by row by AdamW."""

import random

import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig


def probe(pick: random.Random) -> None:
    """After one step without decay: rows without gradient stay, and an update of a hidden matrix has a flat spectrum."""
    tied = pick.random() < 0.5
    config = DecoderConfig(
        vocab_size=pick.randrange(20, 40),
        max_len=16,
        d_model=16,
        n_layers=1,
        n_heads=2,
        n_kv_heads=2,
        positions="learned",
        tied=tied,
    )
    model = DecoderLM(config, backend="plain")
    rates = {"lr_matrices": pick.uniform(0.01, 0.02), "lr_embeddings": 0.03, "lr_head": 0.04}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, OptimConfig(name="muon", weight_decay=0.0, **rates), "plain")
    for p in model.parameters():
        p.grad = torch.randn_like(p) if p.ndim == 1 else _uneven(*p.shape)
    for table in (model.embedding, model.positions, model.head):
        if table is not None:
            table.weight.grad[:7] = 0
    optimizer.step()
    for name, p in model.named_parameters():
        move = p.detach() - before[name]
        if "embedding" in name or "positions" in name or name.startswith("head"):
            rate = rates["lr_head"] if name.startswith("head") else rates["lr_embeddings"]
            assert not move[:7].any(), f"{name}: a row without gradient moved"
            torch.testing.assert_close(move[7:], -rate * p.grad[7:].sign(), rtol=1e-3, atol=1e-6)
        elif p.ndim == 2:
            values = torch.linalg.svdvals(move)
            assert float(values.min() / values.max()) > 0.19, f"{name}: the spectrum is not flat"
            rms = float(move.square().mean().sqrt()) / rates["lr_matrices"]
            assert 0.1 < rms < 0.3, f"{name}: the update has {rms} of its rate"


def _uneven(rows: int, columns: int) -> torch.Tensor:
    """A matrix whose singular values lie between 0.3 and 1."""
    rank = min(rows, columns)
    left, right = (torch.linalg.qr(torch.randn(n, rank)).Q for n in (rows, columns))
    return left * torch.linspace(0.3, 1, rank) @ right.T
