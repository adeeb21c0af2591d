"""Trains for a moment, then looks at what goes on inside: places, silent tokens, half precision, and who learns."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache
from trueformer.training.objective import Objective

from .pretrain import trainer
from .report import Findings

TEXT = "Ben has the map. Eva has the bell. Who has the map?"
BEFORE = "Cleo has the hat. Finn has the key. Who has the key? Finn."
FAR = 512


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """What a short run leaves behind, seen from inside; a gap is 0, but for rounding, where two ways should agree."""
    wanted = {**settings, "loop": {"steps": 40, "eval_every": 40, **settings.get("loop", {})}}
    made, watch = trainer(wanted, seed, folder)
    fresh = copy.deepcopy(made.model).float().eval()
    made.fit()
    model, words = made.model.float().eval(), made.data.tokenizer
    ids, before = (torch.tensor([words.encode(text, bos=True)]) for text in (TEXT, BEFORE))
    batch = next(made.data.loader(4, seed, made.world))
    loss = Objective(model, made.config.loop)(batch.inputs_BT, batch.targets_BT, batch.document_BT)
    numbers = {
        "validation_loss": watch.evaluations[-1].loss,
        "numbers_that_learn": float(sum(p.numel() for p in model.parameters() if p.requires_grad)),
        **_places(model, ids, before),
        **_silence(model, ids),
        **_half(model, ids),
        **_learners(model, loss),
        **_growth(fresh, ids),
    }
    return Findings(numbers=numbers, curves={"loss": {"training": [step.loss for step in watch.steps]}})


@torch.no_grad()
def _places(model: DecoderLM, ids: Tensor, before: Tensor) -> dict[str, float]:
    """How far the same text is from itself elsewhere in a row, in parts or with a cache; one token over and over."""
    alone, joined, n = model(ids), torch.cat([before, ids], 1)[:, : model.config.max_len], before.shape[1]
    document = (torch.arange(joined.shape[1]) >= n).long()[None]
    packed = model(joined, document_BT=document)[:, n:]
    padded = model(joined, key_valid_BS=document.bool())[:, n:]
    cache = KVCache(model.config, 1, ids.shape[1])
    cached = torch.cat([model(part, cache=cache) for part in ids.split(1, dim=1)], 1)
    half = ids.shape[1] // 2
    same = model.hidden(ids[:, 1:2].expand(1, 30))[0]
    return {
        "gap_behind_another_text": _gap(packed, alone),
        "gap_behind_padding": _gap(padded, alone),
        "gap_with_a_cache": _gap(cached, alone),
        "gap_of_a_beginning": _gap(model(ids[:, :half]), alone),
        "drift_of_one_token": float((same - same[:1]).abs().max()),
        "likeness_of_far_places": _likeness(model),
    }


def _gap(here: Tensor, there: Tensor) -> float:
    n = min(here.shape[1], there.shape[1])
    return float((here[:, :n] - there[:, :n]).abs().max())


def _likeness(model: DecoderLM) -> float:
    """Of a vector of ones and itself some hundred places on, as a score sees it; 1 without rotary positions."""
    if model.rotary is None:
        return 1.0
    cos, sin = DecoderLM(_far(model), backend="plain").rotary(torch.tensor([[0, FAR - 1]]))  # type: ignore[misc]
    return float((cos[0, 0] * cos[0, 1] + sin[0, 0] * sin[0, 1]).mean())


def _far(model: DecoderLM) -> Any:
    return dataclasses.replace(model.config, max_len=FAR)


def _silence(model: DecoderLM, ids: Tensor) -> dict[str, float]:
    """What is finite once the first token's embedding is zero."""
    silent = copy.deepcopy(model)
    with torch.no_grad():
        silent.embedding.weight[ids[0, 0]] = 0
    logits = silent(ids)
    logits.logsumexp(-1).sum().backward()
    gradients = [p.grad for p in silent.parameters() if p.grad is not None]
    return {
        "finite_on_silence": float(logits.isfinite().float().mean()),
        "gradients_finite_on_silence": float(
            sum(bool(g.isfinite().all()) for g in gradients) / len(gradients)
        ),
    }


@torch.no_grad()
def _half(model: DecoderLM, ids: Tensor) -> dict[str, float]:
    """What is lost where the weights are turned to bfloat16."""
    half = copy.deepcopy(model).to(torch.bfloat16)
    hidden = half.hidden(ids).float()
    gain = getattr(half.final_norm, "weight", torch.ones(())).float()
    alike = 0
    if model.rotary is not None:
        far = DecoderLM(_far(model), backend="plain").to(torch.bfloat16)
        cos, sin = far.rotary(torch.arange(FAR)[None])  # type: ignore[misc]
        alike = int(((cos[0, 1:] == cos[0, :-1]) & (sin[0, 1:] == sin[0, :-1])).all(-1).sum())
    return {
        "gap_in_bf16": float((half(ids) - model(ids)).abs().mean()),
        "sizes_differ_in_bf16": float((hidden / gain).square().mean(-1).sqrt().std()),
        "neighbours_alike_in_bf16": float(alike),
    }


def _learners(model: DecoderLM, loss: Tensor) -> dict[str, float]:
    """Which words a batch teaches, and whether a copy that takes the same step stays the same."""
    other = copy.deepcopy(model)
    loss.backward()
    idle = model.embedding.weight.grad
    rates = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    with torch.no_grad():
        for changed in (model, other):
            for name, parameter in changed.named_parameters():
                if name in rates:
                    parameter -= 1e-3 * rates[name]
        ids = torch.arange(min(30, model.config.max_len))[None]
        gap = _gap(model(ids), other(ids))
    silent = len(model.embedding.weight) if idle is None else int((idle == 0).all(-1).sum())
    return {"words_without_gradient": float(silent), "gap_to_a_copy_after_a_step": gap}


@torch.no_grad()
def _growth(model: DecoderLM, ids: Tensor) -> dict[str, float]:
    """Behind the last block, before any training: how much larger the stream is than it began, and how uneven."""
    seen: list[Tensor] = []
    hooks = [model.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))]
    hooks.append(model.blocks[-1].register_forward_hook(lambda _, given, gave: seen.append(gave)))
    model(ids)
    for hook in hooks:
        hook.remove()
    sizes = seen[-1].square().mean(-1).sqrt()
    return {
        "growth_through_depth": float(seen[-1].square().mean().sqrt() / seen[0].square().mean().sqrt()),
        "sizes_differ_behind_blocks": float(sizes.std() / sizes.mean()),
    }
