"""Updates are as long as the schedule says. Part of `loop.py`."""

import torch

from trueformer.laws.law import Evidence, law
from trueformer.laws.loop_gradients import steady
from trueformer.laws.loop_rehearsal import Rehearsal, practice
from trueformer.laws.schedule_rates import Rates, is_scheduler, rates
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject, dtype_of

LOW, HIGH = 0.2, 0.7  # of the peak: a rate that is told from it, and moves weights well above their rounding
SLOW = 0.1  # change of the rate within a step either way, where there is such a place
NEAR = 0.05


@law(
    "schedule/reaches-the-updates",
    statement="An update is as long as the schedule says for its step.",
    source="every rule multiplies its step by the rate",
    looks="Compares updates at the peak and at a lower rate, from the same weights, of one micro-batch and of two.",
    tolerance="5 %, and a step either way: conventions differ in where counting begins.",
    symptoms="No warmup, no decay; or the whole schedule is over too early.",
    causes="The rate computed and not used; copied when the optimizer was built; micro-batches counted as steps.",
    needs=("train_step", "optimizer", "loader", "schedule"),
)
def reaches_the_updates(subject: Subject) -> Evidence:
    """Rates 0.001 at step 100 and 0.0005 at step 600: from the same weights and batch, the second moves half as far."""
    if dtype_of(subject.model) not in (torch.float32, torch.float64):
        raise NotApplicable("in half precision an update's length is rounded")
    found = rates(subject)
    high, low = _two_steps(found)
    steady(subject)
    worst, saw = 0.0, ""
    for count in (1, 2):
        try:
            ratio = _ratio(subject, high, low, count)
        except NotApplicable:
            if count == 1:
                raise
            continue
        wanted = [found.values[low + i] / found.values[high + i] for i in _around(found, high, low)]
        off = max(min(wanted) / max(ratio, 1e-9), ratio / max(wanted)) - 1
        if off > worst:
            worst, saw = (
                off,
                f"{ratio:.3g} times as long as at step {high}, the rate {wanted[0]:.3g} times as high",
            )
    return Evidence(
        measured=worst, bound=NEAR, where=f"step {low}", saw=f"the update is {saw}" if worst > NEAR else ""
    )


def _two_steps(found: Rates) -> tuple[int, int]:
    """The step of the peak, and one whose rate is clearly lower and changes slowly, the first such."""
    values, top = found.values, max(found.values)
    places = [i for i in range(1, len(values) - 1) if LOW * top <= values[i] <= HIGH * top]
    if not places:
        raise NotApplicable("the rate is hardly lower at any step than at its peak")

    def change(i: int) -> float:
        return max(abs(values[i + 1] - values[i]), abs(values[i] - values[i - 1])) / values[i]

    return found.peak, next((i for i in places if change(i) <= SLOW), min(places, key=change))


def _around(found: Rates, *steps: int) -> list[int]:
    """The shifts by which counting may differ: none, one less, one more."""
    values = found.values
    return [i for i in (0, -1, 1) if all(0 <= s + i < len(values) and values[s + i] > 0 for s in steps)]


def _ratio(subject: Subject, high: int, low: int, count: int) -> float:
    """How many times as long an update is at the step `low` as at `high`."""
    (long, one), (short, other) = (_update(subject, step, count) for step in (high, low))
    if one.rates == other.rates and one.factors == other.factors:
        raise NotApplicable(
            "train_step does not set the rate: neither its groups nor step() are told another"
        )
    shares = [then / rate for rate, then in zip(one.rates, other.rates, strict=True) if rate > 0]
    if shares and max(shares) - min(shares) > 0.01:
        raise NotApplicable("the groups have schedules of their own")
    if not long > 0:
        raise NotApplicable("nothing moves at the peak: see loop/moves-everything")
    return short / long


def _update(subject: Subject, step: int, count: int) -> tuple[float, Rehearsal]:
    """The length of one update, and the rehearsal that made it."""
    rehearsal = Rehearsal(subject)
    if is_scheduler(subject.schedule):
        for _ in range(step):
            rehearsal.schedule.step()
    before = [p.detach().clone() for p in rehearsal.model.parameters()]
    rehearsal.train(practice(subject, 1) * count, step)
    moved = zip(rehearsal.model.parameters(), before, strict=True)
    length = sum(float((p.detach() - old).double().norm()) ** 2 for p, old in moved) ** 0.5
    return length, rehearsal
