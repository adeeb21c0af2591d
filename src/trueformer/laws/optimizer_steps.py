"""Laws of the step: what it does to weights and moments, tried on small tensors with the owner's rule and settings."""

import math
from typing import Any

import torch
from torch import Tensor

from trueformer.laws.law import Evidence, law
from trueformer.laws.optimizer_bench import (
    Bench,
    benches,
    graded,
    kind_of,
    noise,
    settings,
)
from trueformer.laws.optimizer_groups import FLAT, flatness
from trueformer.laws.optimizer_rules import run, spellings
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

STEPS = 4
CLOSE = 1e-4  # of the way moved: epsilon enters in several ways, masters may be float32
COUPLED = (
    "Adam",
    "SGD",
    "RMSprop",
    "Adagrad",
    "Adadelta",
    "Adamax",
    "NAdam",
    "RAdam",
    "ASGD",
    "Rprop",
    "Adafactor",
)


def _relative(change: Tensor, wanted: Tensor, scale: Tensor) -> float:
    return float((change - wanted).abs().max() / scale.abs().max().clamp(min=1e-30))


def _rounding(weights: Tensor, steps: int) -> Tensor:
    """What rounding to their dtype may do to weights in so many steps; several operations are rounded in each."""
    return 2 * steps * torch.finfo(weights.dtype).eps * weights.abs().double()


@law(
    "optimizer/decay-apart",
    statement="Decoupled decay shrinks the weights and never enters the moments.",
    source="Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2",
    looks="Takes one step with zero gradients: weights must stay, or shrink by exactly lr · decay, and moments be zero.",
    tolerance="1e-5 of the weights: masters may be float32. A rule coupled by name (Adam, SGD) is let be.",
    symptoms="Decay of about lr for every weight, however small: it goes through the adaptive step.",
    causes="`grad += decay * p`, or the decay added to the momentum buffer, in what is called AdamW.",
    needs=("optimizer",),
)
def decay_apart(subject: Subject) -> Evidence:
    """With lr 0.001 and decay 0.1 a weight of 2 becomes 2 · (1 - 0.0001) = 1.9998 when there is no gradient.

    Added to the moments, its decay 0.2 becomes the step 0.2/√0.2² = 1: the weight loses lr = 0.001, as would one of 0.01.
    """
    worst, where, saw, tried = 0.0, "its groups", "", 0
    for trial in benches(subject):
        before = [p.detach().clone() for p in trial.parameters]
        groups = [dict(group) for group in trial.groups]
        moves = trial.step(lambda _, p: torch.zeros_like(p))
        for i, (old, change) in enumerate(zip(before, moves, strict=True)):
            if not trial.parameters[i].requires_grad or _may_couple(trial.optimizer, groups[i]):
                continue
            tried += 1
            lost = settings(groups[i]).get("lr", 0.0) * settings(groups[i])["weight_decay"]
            off = min(_relative(change, wanted, old) for wanted in (torch.zeros_like(old), -lost * old))
            off = max(0.0, off - torch.finfo(old.dtype).eps)
            moment = _largest_moment(trial, i)
            if max(off, moment) > worst:
                worst, where = max(off, moment), trial.names[i]
                saw = (
                    "the moments are not zero" if moment > off else "weights change by other than lr · decay"
                )
    if not tried:
        raise NotApplicable("this optimizer's decay is part of the gradient, as its name says")
    return Evidence(measured=worst, bound=1e-5, where=where, saw=saw if worst > 1e-5 else "")


def _may_couple(optimizer: Any, group: dict[str, Any]) -> bool:
    """Whether decay through the gradient is what the class is known for, or there is none."""
    decoupled = group.get("decoupled_weight_decay", False)
    named = type(optimizer).__name__ in COUPLED or kind_of(optimizer, group) == "sgd"
    return named and not decoupled


def _largest_moment(trial: Bench, number: int) -> float:
    """The largest entry of the state that is no copy of the weights."""
    parameter = trial.parameters[number]
    state = getattr(trial.optimizer, "state", {}).get(parameter, {})
    moments = [
        t
        for t in (state.values() if isinstance(state, dict) else [])
        if isinstance(t, Tensor) and t.is_floating_point() and t.shape == parameter.shape
    ]
    moments = [t for t in moments if not torch.allclose(t.to(parameter), parameter, rtol=1e-2)]
    return max((float(t.detach().abs().max()) for t in moments if t.numel() > 1), default=0.0)


@law(
    "optimizer/step-is-its-rule",
    statement="A step is what the optimizer's name says: Adam, AdamW or SGD as they are written down.",
    source="Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101",
    looks="Takes four steps with random gradients in float64 beside a reference in every legal spelling.",
    tolerance="1e-4 of the way moved: epsilon may stand in several places.",
    symptoms="Nothing that a recipe says holds; slow or unstable training.",
    causes="A beta for the other, a square or a root left out, the step count shared or not kept.",
    needs=("optimizer",),
)
def step_is_its_rule(subject: Subject) -> Evidence:
    """Gradients 1, 1, 1 at lr 0.1 move Adam's weight by 0.1 each time: mean 1, root of the square 1.

    Without the root the step is the same here and four times as long for gradients of 0.25.
    """
    worst, where, tried = 0.0, "its groups", 0
    for trial in benches(subject):
        groups = [dict(group) for group in trial.groups]
        start = [p.detach().clone() for p in trial.parameters]
        for step in range(STEPS):
            trial.step(lambda i, p, step=step: _unequal(i, p, step))
        for i, begun in enumerate(start):
            kind, of = kind_of(trial.optimizer, groups[i]), settings(groups[i])
            if not _known(kind, groups[i], of) or not trial.parameters[i].requires_grad:
                continue
            tried += 1
            gradients = [_unequal(i, begun, step) for step in range(STEPS)]
            way = trial.parameters[i].detach() - begun
            wanted = [run(kind, how, begun, gradients, of) - begun.double() for how in spellings(kind)]
            spare = _rounding(begun.abs() + way.abs(), STEPS)
            off = min(
                float(((way - w).abs() - spare).max() / way.abs().max().clamp(min=1e-30)) for w in wanted
            )
            worst, where = max((worst, where), (off, trial.names[i]))
    if not tried:
        raise NotApplicable("its name is not one of Adam, AdamW and SGD, or its groups lack their settings")
    return Evidence(
        measured=worst, bound=CLOSE, unit="of the way moved", where=where,
        saw="it goes elsewhere than the rule of that name" if worst > CLOSE else "",
    )  # fmt: skip


def _unequal(number: int, parameter: Tensor, step: int) -> Tensor:
    """Gradients of different sizes from entry to entry and step to step, so that a missing root or square shows."""
    return (
        noise(number, parameter, seed=step + 1)
        * 3.0 ** (step % 3)
        * noise(number, parameter, seed=99).abs().add(0.1)
    )


def _known(kind: str, group: dict[str, Any], of: dict[str, float]) -> bool:
    wanted = {"adam": ("lr", "beta1", "beta2", "eps"), "sgd": ("lr",)}.get(kind.removesuffix("w"))
    odd = any(
        group.get(name) for name in ("amsgrad", "maximize", "dampening", "use_muon", "amsbound", "lars")
    )
    return wanted is not None and not odd and all(name in of for name in wanted) and of["lr"] > 0


@law(
    "optimizer/bias-correction",
    statement="Adam's first step is as long as the rate: its moments are corrected for having begun at zero.",
    source="Kingma & Ba 2015, arXiv:1412.6980, §3",
    looks="Takes a first step without decay and compares its middle length with the rate.",
    tolerance="20 %. Without correction the first step is 0.45 (beta2 0.95) or 3.2 (beta2 0.999) of the rate.",
    symptoms="A jolt in the first steps.",
    causes="The correction left out; the step counted from 0.",
    needs=("optimizer",),
    advice=True,
)
def bias_correction(subject: Subject) -> Evidence:
    """With betas (0.9, 0.999) and gradient 1 the moments are 0.1 and 0.001: 0.1 / √0.001 = 3.16, or 1 corrected."""
    found: list[tuple[float, float, str]] = []
    for trial in benches(subject):
        if not any(_known(kind_of(trial.optimizer, g), g, settings(g)) for g in trial.groups):
            continue
        trial.set(weight_decay=0.0)
        moves = trial.step(lambda i, p: noise(i, p).sign() * 0.5)
        for i, change in enumerate(moves):
            if kind_of(trial.optimizer, trial.groups[i]) in ("adam", "adamw") and change.any():
                ratio = float(change.abs().median()) / settings(trial.groups[i])["lr"]
                found.append((abs(math.log(ratio)), ratio, trial.names[i]))
    if not found:
        raise NotApplicable("it is not Adam")
    worst, ratio, where = max(found)
    return Evidence(
        measured=worst, bound=math.log(1.2), unit="log of the ratio", where=where,
        saw=f"the first step is {ratio:.3g} times the rate" if worst > math.log(1.2) else "",
    )  # fmt: skip


@law(
    "optimizer/downhill",
    statement="The first step goes downhill: against the gradient.",
    source="Nocedal & Wright 2006, Numerical Optimization, §2.2: a descent direction",
    looks="Takes one step with a random gradient, and the cosine between the way and the gradient turned round.",
    tolerance="0.2: steps by sign or with equal singular values have 0.5 to 0.9. Fewer than 64 weights are not judged.",
    symptoms="The loss rises, or stays where it was, for all that is done to the rate.",
    causes="A sign; the gradient's signs lost by abs or a square; a matrix transposed or reshaped on its way.",
    needs=("optimizer",),
)
def downhill(subject: Subject) -> Evidence:
    """The loss falls by the rate times (step · gradient). With |g| for g, half of the weights go the wrong way: 0."""
    found: list[tuple[float, str]] = []
    for trial in benches(subject):
        groups = trial.groups
        for i, change in enumerate(trial.step(noise)):
            if change.numel() >= 64 and change.any() and not groups[i].get("maximize"):
                way, slope = change.double().flatten(), noise(i, change).double().flatten()
                cosine = float(-(way @ slope) / (way.norm() * slope.norm()))
                found.append((cosine if math.isfinite(cosine) else -1.0, trial.names[i]))
    if not found:
        raise NotApplicable("nothing that is large enough moves")
    worst, where = min(found)
    return Evidence(
        measured=worst, bound=0.2, at_least=True, unit="cosine", where=where,
        saw="the step does not go against the gradient" if worst < 0.2 else "",
    )  # fmt: skip


@law(
    "optimizer/orthogonal",
    statement="Muon's update has equal singular values; AdaMuon's first has entries of one size.",
    source="Jordan 2024, Muon; Si, Zhang & Shen 2025, arXiv:2507.11005",
    looks="Steps once with a gradient of one large and many small singular values, and looks at what moved.",
    tolerance="Least to largest 0.19: five Newton–Schulz steps leave 0.3 to 1.6. AdaMuon: 20 % around the mean.",
    symptoms="Muon that trains like momentum with an odd rate.",
    causes="The iteration on a matrix that was not normalised first, transposed wrongly, or left out.",
    needs=("optimizer",),
)
def orthogonal(subject: Subject) -> Evidence:
    """Singular values 1 and 0.01 become about 1 and 1: the rare direction moves as far as the common one."""
    worst, where, tried = 1.0, "its groups", 0
    for trial in benches(subject):
        moves = trial.step(graded)
        for i, change in enumerate(moves):
            kind = kind_of(trial.optimizer, trial.groups[i])
            if kind not in ("muon", "adamuon") or change.ndim != 2 or min(change.shape) < 4:
                continue
            tried += 1
            lost = settings(trial.groups[i]).get("lr", 0.0) * settings(trial.groups[i])["weight_decay"]
            change = change + lost * (trial.parameters[i].detach() - change)
            even = flatness(change) if kind == "muon" else float(change.abs().median() / change.abs().max())
            worst, where = min((worst, where), (even, trial.names[i]))
    if not tried:
        raise NotApplicable("it is not Muon by its name or its groups")
    return Evidence(
        measured=worst, bound=FLAT, at_least=True, unit="least to largest", where=where,
        saw="the update keeps the gradient's uneven spectrum" if worst < FLAT else "",
    )  # fmt: skip


@law(
    "optimizer/rate-is-obeyed",
    statement="At a rate of zero nothing moves.",
    source="every rule multiplies by the rate",
    looks="Sets lr to 0 in the groups and takes a step.",
    tolerance="1e-7 of the weights.",
    symptoms="Schedules do nothing; weights shrink by the whole decay at each step.",
    causes="The rate copied when the optimizer was built; decay without lr.",
    needs=("optimizer",),
)
def rate_is_obeyed(subject: Subject) -> Evidence:
    """`p.mul_(1 - decay)` with decay 0.1 leaves a third after ten steps, whatever the schedule says."""
    worst, where = 0.0, "its groups"
    for trial in benches(subject):
        before = [p.detach().clone() for p in trial.parameters]
        trial.set(lr=0.0)
        for i, change in enumerate(trial.step(noise)):
            off = _relative(change, torch.zeros_like(change), before[i])
            worst, where = max((worst, where), (off, trial.names[i]))
    return Evidence(
        measured=worst, bound=1e-7, unit="of the weights", where=where,
        saw="weights move although the rate is 0" if worst > 1e-7 else "",
    )  # fmt: skip
