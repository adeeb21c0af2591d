"""The readable twins of sampling and generation: one row, one token at a time, no cache, no padding.

Slow: every token costs a forward pass over the whole text. They leave out nothing that the fast paths do.

Shapes: T length, V vocabulary.
"""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trueformer.inference.config import SamplingConfig
from trueformer.models.decoder import DecoderLM


def plain_probabilities(
    logits_V: Float[Tensor, "V"], seen: Collection[int], config: SamplingConfig
) -> Float[Tensor, "V"]:
    """What the next token is drawn from, in float64: penalty, temperature, top-k, top-p, min-p, in order."""
    logits_V = logits_V.double().clone()
    for token in set(seen):
        if logits_V[token] > 0:
            logits_V[token] /= config.repetition_penalty
        else:
            logits_V[token] *= config.repetition_penalty
    if config.temperature == 0:
        return torch.nn.functional.one_hot(logits_V.argmax(), len(logits_V)).double()
    probabilities_V = torch.softmax((logits_V - logits_V.max()) / config.temperature, dim=-1)
    if config.top_k is not None:
        kth = probabilities_V.sort(descending=True).values[min(config.top_k, len(logits_V)) - 1]
        probabilities_V = _renormalised(probabilities_V, probabilities_V >= kth)
    if config.top_p < 1:
        probabilities_V = _renormalised(probabilities_V, _nucleus(probabilities_V, config.top_p))
    if config.min_p > 0:
        probabilities_V = _renormalised(
            probabilities_V, probabilities_V >= config.min_p * probabilities_V.max()
        )
    return probabilities_V


def _nucleus(probabilities_V: Tensor, p: float) -> Tensor:
    """True for the smallest set of most likely tokens whose mass reaches p, the crossing token included."""
    keep_V = torch.zeros_like(probabilities_V, dtype=torch.bool)
    mass = 0.0
    for token in probabilities_V.argsort(descending=True, stable=True).tolist():
        if mass >= p:
            break
        keep_V[token] = True
        mass += float(probabilities_V[token])
    return keep_V


def _renormalised(probabilities_V: Tensor, keep_V: Tensor) -> Tensor:
    kept_V = torch.where(keep_V, probabilities_V, 0.0)
    return kept_V / kept_V.sum()


def plain_draw(probabilities_V: Float[Tensor, "V"], uniform: float) -> int:
    """Walk along the probabilities until their sum passes `uniform`, a number in [0, 1)."""
    total = 0.0
    for token, probability in enumerate(probabilities_V.tolist()):
        total += probability
        if total > uniform:
            return token
    return int(probabilities_V.nonzero()[-1])  # the sum rounded to just below 1


@torch.no_grad()
def plain_generate(
    model: DecoderLM,
    prompt: Sequence[int],
    config: SamplingConfig,
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
) -> list[int]:
    """The new tokens after `prompt`: up to a stop id (left out), the count asked for, or max_len."""
    generator = torch.Generator().manual_seed(config.seed)
    ids, new = list(prompt), []
    while len(new) < max_new_tokens and len(ids) < model.config.max_len:
        logits_V = model(torch.tensor([ids], device=model.embedding.weight.device))[0, -1]
        probabilities_V = plain_probabilities(logits_V, ids, config)
        uniform = 0.0
        if config.temperature > 0:
            uniform = float(torch.rand((), dtype=torch.float64, generator=generator))
        token = plain_draw(probabilities_V, uniform)
        if token in stop_ids:
            break
        ids.append(token)
        new.append(token)
    return new
