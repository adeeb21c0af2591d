"""What Adam, AdamW and SGD are, in float64 and every spelling in use, to compare an optimizer's steps with.

Leaves out Muon, whose step is known by its spectrum: `optimizer_steps.py`.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Spelling:
    """One legal way: where decay enters, whether moments are corrected for their start, where epsilon stands."""

    decay: str = "before"  # before or after the step, or coupled: part of the gradient
    corrected: bool = True
    eps_inside: bool = False
    nesterov: bool = False
    averaged: bool = False  # momentum as a mean, (1 - beta) g, rather than a sum


def spellings(kind: str) -> Iterator[Spelling]:
    """Every legal spelling of "adamw", "adam" or "sgd"."""
    decays = {
        "adamw": ("before", "after"),
        "adam": ("before", "after", "coupled"),
        "sgd": ("coupled", "before"),
    }
    for decay, first, second in itertools.product(decays[kind], (True, False), (False, True)):
        if kind == "sgd":
            yield Spelling(decay=decay, nesterov=first, averaged=second)
        else:
            yield Spelling(decay=decay, corrected=first, eps_inside=second)


def run(
    kind: str, how: Spelling, start: Tensor, gradients: Sequence[Tensor], settings: dict[str, float]
) -> Tensor:
    """Where a parameter is after these gradients."""
    move = _sgd if kind == "sgd" else _adam
    weight = start.double().clone()
    state = [torch.zeros_like(weight), torch.zeros_like(weight)]
    lr, decay = settings["lr"], settings["weight_decay"]
    for step, gradient in enumerate(gradients, start=1):
        gradient = gradient.double() + (decay * weight if how.decay == "coupled" else 0)
        shrink = 1 - lr * decay
        weight = weight * shrink if how.decay == "before" else weight
        weight = weight - lr * move(how, gradient, state, step, settings)
        weight = weight * shrink if how.decay == "after" else weight
    return weight


def _adam(
    how: Spelling, gradient: Tensor, state: list[Tensor], step: int, settings: dict[str, float]
) -> Tensor:
    """Kingma & Ba 2015, arXiv:1412.6980, algorithm 1."""
    beta1, beta2, eps = (settings[name] for name in ("beta1", "beta2", "eps"))
    state[0] = beta1 * state[0] + (1 - beta1) * gradient
    state[1] = beta2 * state[1] + (1 - beta2) * gradient**2
    mean, square = state
    if how.corrected:
        mean, square = mean / (1 - beta1**step), square / (1 - beta2**step)
    return mean / ((square + eps).sqrt() if how.eps_inside else square.sqrt() + eps)


def _sgd(
    how: Spelling, gradient: Tensor, state: list[Tensor], step: int, settings: dict[str, float]
) -> Tensor:
    """Sutskever et al. 2013, as torch.optim.SGD has it."""
    beta = settings.get("momentum", 0.0)
    if not beta:
        return gradient
    fresh = (1 - beta) * gradient if how.averaged else gradient
    state[0] = beta * state[0] + fresh
    return (fresh if how.averaged else gradient) + beta * state[0] if how.nesterov else state[0]
