"""The rates that a schedule gives, one an optimizer step: of a scheduler of torch's, or of a function of the step."""

import contextlib
import copy
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils._pytree import tree_leaves

from trueformer.subject.errors import NotApplicable
from trueformer.subject.interface import call_by_name
from trueformer.subject.subject import Subject
from trueformer.subject.twins import complete

UNTOLD = 20_000  # steps, where nobody says how many there will be
MOST = 100_000
TOTALS = ("total_steps", "T_max", "total_iters", "num_training_steps", "max_steps")
WARMING = ("LinearLR", "ConstantLR")  # their total_iters is no length of a run
RESTARTING = ("StepLR", "MultiStepLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ReduceLROnPlateau")
ONES_OWN = ("OneCycleLR", "CyclicLR")  # they bring their own peak
STEPS = ("step", "it", "iteration", "iter", "step_num", "current_step", "global_step", "i", "t")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """`values[i]` is the rate, or its factor, of optimizer step i; `total` is None where nobody told it."""

    values: tuple[float, ...]
    total: int | None
    base: float | None
    of_scheduler: bool
    restarts: bool

    @property
    def peak(self) -> int:
        """The first step at the highest rate, within a thousandth."""
        top = max(self.values)
        return next(i for i, value in enumerate(self.values) if value >= 0.999 * top)

    @property
    def length(self) -> int | None:
        """The steps of the run, as told; or up to where the rate has come down and stays."""
        if self.total is not None:
            return self.total
        last = next(
            (i for i in range(len(self.values) - 1, 0, -1) if self.values[i] != self.values[i - 1]), 0
        )
        decayed = self.values[-1] < 0.9 * max(self.values)
        return last + 1 if decayed and last < 0.9 * len(self.values) else None


def total_steps(subject: Subject) -> int | None:
    """How long the run is meant to be, declared or by the scheduler's own words."""
    told = subject.max_steps
    for name in TOTALS:
        found = None if type(subject.schedule).__name__ in WARMING else getattr(subject.schedule, name, None)
        if told is None and isinstance(found, int) and found > 0:
            return found
    return told


def rates(subject: Subject) -> Rates:
    """The rates of the whole run, read from a copy; made once.

    Raises:
        NotApplicable: it wants more than the step.
    """
    return subject.once("rates", lambda: _read(subject))


def _read(subject: Subject) -> Rates:
    schedule, total = subject.schedule, total_steps(subject)
    many = min(total or UNTOLD, MOST)
    if is_scheduler(schedule):
        values, base = _of_scheduler(schedule, many)
    elif callable(schedule):
        values, base = [rate_at(schedule, step) for step in range(many)], None
    else:
        raise NotApplicable(
            f"the schedule is a {type(schedule).__name__}: expected a scheduler or a function"
        )
    return Rates(
        values=tuple(values),
        total=total,
        base=base,
        of_scheduler=is_scheduler(schedule),
        restarts=_restarts(schedule),
    )


def is_scheduler(schedule: Any) -> bool:
    """Whether it is one of torch's kind: stepped, and setting the rate of an optimizer."""
    return isinstance(schedule, LRScheduler) or (hasattr(schedule, "step") and hasattr(schedule, "optimizer"))


def _restarts(schedule: Any) -> bool:
    inner = [schedule, *getattr(schedule, "_schedulers", [])]
    return any(type(one).__name__ in RESTARTING for one in inner)


def copied_schedule(schedule: Any) -> Any:
    """A copy with an optimizer of its own, whose parameters are single numbers: only its rates matter."""
    memo: dict[Any, Any] = {}
    optimizer = getattr(schedule, "optimizer", None)
    for group in getattr(optimizer, "param_groups", []):
        memo |= {id(p): nn.Parameter(torch.zeros(1)) for p in group["params"]}
    state = list(getattr(optimizer, "state", {}).values())
    memo |= {id(leaf): leaf for leaf in tree_leaves(state) if isinstance(leaf, Tensor)}
    twin = copy.deepcopy(schedule, memo)
    complete(optimizer, getattr(twin, "optimizer", None), memo)
    return twin


def advance(schedule: Any) -> float:
    """The rate of the first group now; then one step on."""
    rate = float(schedule.optimizer.param_groups[0]["lr"])
    schedule.step()
    return rate


def _of_scheduler(schedule: Any, many: int) -> tuple[list[float], float | None]:
    if "metrics" in inspect.signature(schedule.step).parameters:
        raise NotApplicable("the schedule follows a measured loss, which is not there without training")
    if getattr(schedule, "last_epoch", 0) > 0:
        raise NotApplicable(f"the schedule has already made {schedule.last_epoch} steps: give a new one")
    twin = copied_schedule(schedule)
    base = twin.optimizer.param_groups[0].get("initial_lr")
    values: list[float] = []
    with contextlib.suppress(ValueError):  # OneCycleLR refuses to be stepped past its end
        for _ in range(many):
            values.append(advance(twin))
    return values, None if type(schedule).__name__ in ONES_OWN else base


def rate_at(schedule: Any, step: int) -> float:
    """What a function gives for a step.

    Raises:
        NotApplicable: it asks for more.
    """
    try:
        result = call_by_name(schedule, "step", **dict.fromkeys(STEPS, step))
    except ValueError as error:
        if "asks for" not in str(error):
            raise
        raise NotApplicable(f"the schedule wants more than a step ({error}): give lambda step: …") from error
    return float(result)
