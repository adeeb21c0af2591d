"""A few steps of a trainer, looked at closely: how far each goes, and what becomes of odd circumstances."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trueformer.training.loop import Trainer

from .pretrain import trainer
from .report import Findings

STEPS = 12


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """Lengths of single steps in units of their rate; how often steps are told; the device; a step that is not finite."""
    loop = {"steps": STEPS, "eval_every": STEPS, **settings.get("loop", {})}
    wanted = {**settings, "loop": loop, "schedule": {"warmup_steps": 0, **settings.get("schedule", {})}}
    moves, losses, rates = _moves(wanted, seed, folder / "moves")
    numbers = {
        **{f"first_move_of_{name}": lengths[0] for name, lengths in moves.items()},
        **{f"last_move_of_{name}": lengths[-1] for name, lengths in moves.items()},
        "loss_at_start": losses[0],
        "loss_at_end": losses[-1],
        "steps_told_when_fitted_twice": _told(wanted, seed, folder / "twice"),
        "on_its_device_before_training": _elsewhere(wanted, seed, folder / "elsewhere"),
        "steps_skipped_after_a_bad_one": _skipped(wanted, seed, folder / "bad"),
        **_first(wanted, seed, folder / "first"),
    }
    return Findings(numbers=numbers, curves={"loss": {"training": losses}, "rate": {"of its peak": rates}})


def _moves(
    settings: dict[str, Any], seed: int, folder: Path
) -> tuple[dict[str, list[float]], list[float], list[float]]:
    """The root mean square of each step of each group, in units of its rate; losses and rates."""
    made, _ = trainer(settings, seed, folder)
    groups = made.optimizers.param_groups
    moves: dict[str, list[float]] = {group["name"]: [] for group in groups}
    losses, rates = [], []
    for _ in range(STEPS - 1):
        before = [[p.detach().float().clone() for p in group["params"]] for group in groups]
        step = made.step()
        losses.append(step.loss)
        rates.append(step.lr_factor)
        for group, old in zip(groups, before, strict=True):
            pairs = zip(group["params"], old, strict=True)
            moved = torch.cat([(p.detach().float() - then).flatten() for p, then in pairs])
            moves[group["name"]].append(float(moved.square().mean().sqrt()) / (group["lr"] * step.lr_factor))
    return moves, losses, rates


def _told(settings: dict[str, Any], seed: int, folder: Path) -> float:
    """How many steps a callback hears of in two calls of `fit`, of two steps each."""
    made, watch = trainer({**settings, "loop": {**settings["loop"], "steps": 2}}, seed, folder)
    made.fit()
    made.progress.step = 0
    made.fit()
    return float(len(watch.steps))


def _elsewhere(settings: dict[str, Any], seed: int, folder: Path) -> float:
    """The share of weights that are on the device of a trainer that has not trained yet."""
    made, _ = trainer(settings, seed, folder)
    device = torch.device("meta")
    there = Trainer(made.config, copy.deepcopy(made.model), made.data, folder, device=device)
    places = [p.device == device for p in there.model.parameters()]
    return sum(places) / len(places)


def _skipped(settings: dict[str, Any], seed: int, folder: Path) -> float:
    """How many of three steps are skipped after one whose gradients were not finite."""
    made, watch = trainer(settings, seed, folder)

    def spoil(step: int) -> None:
        for parameter in made.model.parameters() if step == 2 else ():
            if parameter.grad is not None:
                parameter.grad.fill_(float("nan"))

    watch.on_gradients = spoil
    return float(sum([made.step().skipped for _ in range(5)][2:]))


def _first(settings: dict[str, Any], seed: int, folder: Path) -> dict[str, float]:
    """How alike the first gradient and what clipping leaves of it point; the largest entry of a step to a usual one."""
    made, watch = trainer(settings, seed, folder)
    given: list[Tensor] = []
    parameters = [p for p in made.model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in parameters]
    watch.on_gradients = lambda step: given.append(_gradient(parameters))
    made.step()
    moved = [(p.detach() - old).abs() for p, old in zip(parameters, before, strict=True) if p.dim() == 2]
    left = _gradient(parameters)
    alike = float(torch.cosine_similarity(given[0], left, dim=0)) if len(left) else 0.0
    uneven = [float(move.max() / move.square().mean().sqrt()) for move in moved[1:]]
    return {"likeness_of_clipped_gradients": alike, "unevenness_of_first_move": max(uneven)}


def _gradient(parameters: Sequence[Tensor]) -> Tensor:
    """A copy of all of it, as one vector; empty where none is left."""
    return torch.cat([torch.zeros(0), *(p.grad.flatten() for p in parameters if p.grad is not None)])
