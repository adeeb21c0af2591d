"""Trains for a moment, then reads texts alone, in a batch, padded, packed and step by step: logits should not care."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trueformer.models.decoder import DecoderLM
from trueformer.nn.attention import Attention
from trueformer.nn.cache import KVCache

from .pretrain import stories, trainer
from .report import Findings

SHARPER = 24.0
TEXTS = 6


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """How far logits move that should stay, as a share of the largest; and how far back a prediction looks."""
    wanted = {**settings, "loop": {"steps": 40, "eval_every": 40, **settings.get("loop", {})}}
    made, watch = trainer(wanted, seed, folder)
    made.fit()
    model, words = made.model.eval(), made.data.tokenizer
    texts = [torch.tensor(words.encode(text, bos=True)[:40]) for text in stories(TEXTS, seed + 2000)]
    length = min(map(len, texts))
    ids = torch.stack([text[:length] for text in texts])
    numbers = {
        "validation_loss": watch.evaluations[-1].loss,
        "gap_together": _gap(model(ids), torch.cat([model(row[None]) for row in ids])),
        "gap_again": _gap(model(ids), model(ids)),
        **_padded(model, ids),
        "gap_packed": _packed(model, ids),
        "gap_step_by_step": _step_by_step(model, ids),
        "gap_with_full_heads": _full_heads(model, ids),
        **_changed(model, ids),
    }
    with torch.no_grad():
        for block in model.blocks:
            attention = block.attention
            assert isinstance(attention, Attention)
            (attention.q_norm or attention.q).weight.mul_(SHARPER)
    numbers["gap_before_a_change_when_sharp"] = _changed(model, ids)["gap_before_a_change"]
    return Findings(numbers=numbers, curves={"loss": {"training": [step.loss for step in watch.steps]}})


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max() / other.detach().abs().max())


def _padded(model: DecoderLM, ids: Tensor) -> dict[str, float]:
    """Five places of padding behind or before each text, which the mask names."""
    alone, blank = model(ids), torch.ones(len(ids), 5, dtype=torch.long)
    real, none = torch.ones_like(ids, dtype=torch.bool), torch.zeros_like(blank, dtype=torch.bool)
    behind = model(torch.cat([ids, blank], 1), key_valid_BS=torch.cat([real, none], 1))[:, : ids.shape[1]]
    before = model(torch.cat([blank, ids], 1), key_valid_BS=torch.cat([none, real], 1))[:, 5:]
    return {
        "gap_padded_behind": _gap(behind, alone),
        "gap_padded_before": _gap(before, alone),
        "gap_with_nothing_masked": _gap(model(ids, key_valid_BS=real), alone),
    }


def _packed(model: DecoderLM, ids: Tensor) -> float:
    """Pieces of three texts in one row, numbered, against each alone."""
    parts = [ids[row : row + 1, : 8 + row] for row in range(3)]
    numbers = torch.cat([torch.full_like(part, number) for number, part in enumerate(parts)], 1)
    return _gap(model(torch.cat(parts, 1), document_BT=numbers), torch.cat([model(p) for p in parts], 1))


def _step_by_step(model: DecoderLM, ids: Tensor) -> float:
    cache = KVCache(model.config, len(ids), ids.shape[1])
    return _gap(torch.cat([model(token, cache=cache) for token in ids.split(1, dim=1)], 1), model(ids))


def _full_heads(model: DecoderLM, ids: Tensor) -> float:
    """The same model with each key head written out once for every query head of its group."""
    config = model.config
    full = DecoderLM(dataclasses.replace(config, n_kv_heads=config.n_heads), backend="plain").eval()
    state = dict(model.state_dict())
    for name, tensor in state.items():
        if ".attention.k." in name or ".attention.v." in name:
            heads = tensor.unflatten(0, (config.n_kv_heads, -1))
            assert config.n_kv_heads is not None
            state[name] = heads.repeat_interleave(config.n_heads // config.n_kv_heads, 0).flatten(0, 1)
    full.load_state_dict(state)
    return _gap(full(ids), model(ids))


def _changed(model: DecoderLM, ids: Tensor) -> dict[str, float]:
    """What one other token moves before it, and how many places later it still moves something."""
    before, reach, length = 0.0, 0, ids.shape[1]
    for place, moved_T in _moves(model, ids):
        before = max(before, float(moved_T[:place].max()) if place else 0.0)
        seen = (moved_T > 1e-6).nonzero()
        reach = max(reach, int(seen[-1]) - place if len(seen) else 0)
    return {"gap_before_a_change": before, "reach": float(reach), "tokens": float(length)}


def _moves(model: DecoderLM, ids: Tensor) -> Iterator[tuple[int, Tensor]]:
    alone = model(ids).detach()
    for place in range(0, ids.shape[1], 3):
        other = ids.clone()
        other[:, place] = (other[:, place] + 1) % model.config.vocab_size
        yield place, (model(other).detach() - alone).abs().amax((0, 2)) / alone.abs().max()
