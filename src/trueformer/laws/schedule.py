"""Schedules of the learning rate: finite, rising to their peak where they say, falling after it, resumable."""

import copy
import itertools
import math
from collections.abc import Sequence

from trueformer.laws.law import Evidence, Figure, law
from trueformer.laws.schedule_rates import (
    Rates,
    advance,
    copied_schedule,
    is_scheduler,
    rate_at,
    rates,
)
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

SHORT = 20  # steps: too few for a shape
GOYAL = "Goyal et al. 2017, arXiv:1706.02677, §2.2"


def _drawn(found: Rates) -> Figure:
    thinned = found.values[:: max(1, len(found.values) // 500)]
    return Figure(
        kind="lines", title="Learning rate", x_label="optimizer step", y_label="rate", lines={"rate": thinned}
    )


@law(
    "schedule/finite",
    statement="The rate is finite and not negative at every step.",
    source="a negative rate climbs",
    looks="Reads the rate of each step of the run, or of the first 20,000.",
    tolerance="None.",
    symptoms="The loss rises at the end of a run, or at a division by zero at its beginning.",
    causes="A line that goes on below zero; `step ** -0.5` at step 0; no clamp at the end.",
    needs=("schedule",),
)
def finite(subject: Subject) -> Evidence:
    """A line from 1 at step 0 to 0 at step 900 is -0.11 at step 1000: the optimizer then walks uphill."""
    found = rates(subject)
    bad = [i for i, value in enumerate(found.values) if not (math.isfinite(value) and value >= 0)]
    return Evidence(
        measured=float(len(bad)), bound=0.0, unit="steps", where=f"step {bad[0]}" if bad else "every step",
        saw=f"a rate of {found.values[bad[0]]:g}" if bad else "",
    )  # fmt: skip


@law(
    "schedule/starts",
    statement="The rate leaves zero after the first step at the latest.",
    source=GOYAL,
    looks="Counts the steps at zero that come first.",
    tolerance="One: many schedules give step 0 a rate of 0.",
    symptoms="No learning for a while, or ever.",
    causes="A warmup in whole epochs; integer division; the schedule of another unit.",
    needs=("schedule",),
)
def starts(subject: Subject) -> Evidence:
    """`step // warmup` is 0 for every step of the warmup; `step / warmup` was meant."""
    values = rates(subject).values
    idle = next((i for i, value in enumerate(values) if value != 0), len(values))
    return Evidence(
        measured=float(idle), bound=1.0, unit="steps", where="the beginning",
        saw=f"the first {idle} steps have a rate of 0" if idle > 1 else "",
    )  # fmt: skip


@law(
    "schedule/warmup-rises",
    statement="Before its peak the rate never falls, and rises evenly.",
    source=GOYAL,
    looks="Takes the largest fall before the first step at the highest rate; in a warmup of 4 steps, jumps too.",
    tolerance="A fall of 1 % of the peak; a jump of a quarter and three others, in 10 steps of half.",
    symptoms="A jolt in the loss before the peak.",
    causes="Warmup and decay multiplied rather than one after the other; a wrong condition where they meet.",
    needs=("schedule",),
)
def warmup_rises(subject: Subject) -> Evidence:
    """0.25, 0.5, 0.75, 1: a warmup of four steps. 0.25, 0.5, 0.1, 1 has its third step from another formula."""
    found = _shaped(subject)
    rising = found.values[: found.peak + 1]
    falls = [(rising[i] - rising[i + 1], i) for i in range(len(rising) - 1)]
    fall, at = max(falls, default=(0.0, 0))
    share, bound = max(0.0, fall) / max(found.values), 0.01
    if share <= bound and len(rising) > 4:
        bound, at = _largest_jump(rising)
        share = (rising[at + 1] - rising[at]) / max(found.values)
    return Evidence(
        measured=share, bound=bound, unit="of the peak", where=f"step {at + 1}", figure=_drawn(found),
        saw=f"the rate goes from {rising[at]:.3g} to {rising[at + 1]:.3g} in one step" if share > bound else "",
    )  # fmt: skip


def _shaped(subject: Subject) -> Rates:
    found = rates(subject)
    if found.restarts:
        raise NotApplicable("the schedule is one that jumps or restarts by design")
    if not max(found.values) > 0 or not all(map(math.isfinite, found.values)):
        raise NotApplicable("the rates are not finite and positive: see schedule/finite")
    return found


def _largest_jump(rising: Sequence[float]) -> tuple[float, int]:
    """What it may be as a share of the peak, and where it is; a short warmup may be one constant rate."""
    rises = [after - before for before, after in itertools.pairwise(rising)]
    next_largest = sorted(rises)[-2] / rising[-1]
    even = max(0.25, 3 * next_largest) if next_largest > 0 else 1.0
    return min(even, 0.5) if len(rising) >= 10 else even, rises.index(max(rises))


@law(
    "schedule/warmup-ends-where-it-says",
    statement="The peak comes at the end of the declared warmup.",
    source=GOYAL,
    looks="Compares the first step at the highest rate with warmup_steps=.",
    tolerance="One step either way: conventions differ in whether step 0 moves.",
    symptoms="A slow beginning, or no warmup at all.",
    causes="Warmup counted in micro-batches, epochs or tokens; a factor of accumulation too many.",
    needs=("schedule",),
)
def warmup_ends_where_it_says(subject: Subject) -> Evidence:
    """A warmup of 100 steps peaks at step 99 or 100. Stepped once a micro-batch of 4, it peaks at step 25."""
    declared = subject.warmup_steps
    if declared is None:
        raise NotApplicable("no warmup is declared: warmup_steps=")
    found = _shaped(subject)
    off = abs(found.peak - declared) - (found.peak == declared - 1)
    off = 0 if declared <= 1 and found.peak <= 1 else off
    return Evidence(
        measured=float(off), bound=1.0, unit="steps", where=f"step {found.peak}", figure=_drawn(found),
        saw=f"the peak is at step {found.peak}, {declared} are declared" if off > 1 else "",
    )  # fmt: skip


@law(
    "schedule/warmup-is-short",
    statement="The warmup takes less than half of the run.",
    source=GOYAL,
    looks="Compares the step of the peak with the length of the run.",
    tolerance="Half; recipes warm up for 0.1 % to 30 %. A rate that never rises has no warmup.",
    symptoms="No learning in what was meant to be most of the training.",
    causes="A warmup a hundred times too long, or a run shorter than its warmup.",
    needs=("schedule",),
)
def warmup_is_short(subject: Subject) -> Evidence:
    """100,000 steps of warmup in a run of 5,000 end at a twentieth of the rate that was meant."""
    found = _shaped(subject)
    declared = subject.warmup_steps or 0
    if found.length is None:
        raise NotApplicable("nobody says how long the run is: max_steps=")
    flat = found.values[0] >= 0.999 * max(found.values)
    share = 0.0 if flat else max(found.peak + 1, declared) / found.length
    return Evidence(
        measured=share, bound=0.5, unit="of the run", where=f"step {found.peak}", figure=_drawn(found),
        saw=f"the rate still rises at step {found.peak} of {found.length}" if share > 0.5 else "",
    )  # fmt: skip


@law(
    "schedule/no-rise-after-peak",
    statement="After its peak the rate does not rise again.",
    source="Loshchilov & Hutter 2017, arXiv:1608.03983: a cosine without restarts",
    looks="Takes the largest rise from any earlier rate after the peak, as a share of it.",
    tolerance="1 %; schedules that restart by design are not judged.",
    symptoms="The loss, nearly settled, rises again towards the end.",
    causes="A cosine whose period is shorter than the run: T_max in epochs, or the total of another run.",
    needs=("schedule",),
    advice=True,
)
def no_rise_after_peak(subject: Subject) -> Evidence:
    """A cosine with T_max = 100 is at 0 at step 100 and back at its peak at step 200."""
    found = _shaped(subject)
    if found.total is None:
        raise NotApplicable("nobody says how long the run is: max_steps=")
    lowest, rise, at = max(found.values), 0.0, found.peak
    for i, value in enumerate(found.values[found.peak :], start=found.peak):
        lowest = min(lowest, value)
        rise, at = max((rise, at), (value - lowest, i))
    share = rise / max(found.values)
    return Evidence(
        measured=share, bound=0.01, unit="of the peak", where=f"step {at}", figure=_drawn(found),
        saw="the rate rises again after its peak" if share > 0.01 else "",
    )  # fmt: skip


@law(
    "schedule/no-jump",
    statement="After its peak the rate moves smoothly.",
    source="every published schedule but those of steps",
    looks="Takes the largest change from one step to the next after the peak, as a share of it.",
    tolerance="Half of the peak; step schedules and restarts are not judged, nor runs under 20 steps.",
    symptoms="A kink in the loss at one step.",
    causes="Warmup and decay that do not meet; the decay's progress counted from step 0, or clamped wrongly.",
    needs=("schedule",),
    advice=True,
)
def no_jump(subject: Subject) -> Evidence:
    """Warmup to 1, then `cos` of (step / total) in degrees for radians: 1 at one step, 0.2 at the next."""
    found = _shaped(subject)
    after = found.values[found.peak :]
    if len(after) < SHORT:
        raise NotApplicable(f"only {len(after)} steps come after the peak")
    jump, at = max((abs(after[i + 1] - after[i]), i) for i in range(len(after) - 1))
    share = jump / max(found.values)
    return Evidence(
        measured=share, bound=0.5, unit="of the peak", where=f"step {found.peak + at + 1}", figure=_drawn(found),
        saw=f"the rate goes from {after[at]:.3g} to {after[at + 1]:.3g} in one step" if share > 0.5 else "",
    )  # fmt: skip


@law(
    "schedule/peak-is-the-rate",
    statement="A scheduler's peak is the rate that the optimizer was built with.",
    source="PyTorch, torch.optim.lr_scheduler.LambdaLR: the function gives a factor",
    looks="Divides the highest rate by the declared one (peak_lr=), or by the optimizer's initial one.",
    tolerance="5 % of a declared peak; else at least 0.05. Bases of 0.5 and more, as in Noam's schedule, are let be.",
    symptoms="Hardly any learning.",
    causes="The function gives a rate where a factor is asked for: the rate is squared.",
    needs=("schedule",),
)
def peak_is_the_rate(subject: Subject) -> Evidence:
    """LambdaLR multiplies: with lr = 0.001 and a function that peaks at 0.001, the optimizer gets 0.000001."""
    found = rates(subject)
    if subject.peak_lr:
        return _as_declared(found, float(subject.peak_lr))
    if not found.of_scheduler or not found.base:
        raise NotApplicable("only a scheduler that multiplies a base rate can be compared with it")
    if found.base >= 0.5 or found.peak == len(found.values) - 1:
        raise NotApplicable("the base is no peak, or the peak was not reached in what was read")
    share = max(found.values) / found.base
    return Evidence(
        measured=share, bound=0.05, at_least=True, unit="of the initial rate", where=f"step {found.peak}",
        saw=f"the highest rate is {max(found.values):.3g}, the optimizer's is {found.base:.3g}" if share < 0.05 else "",
    )  # fmt: skip


def _as_declared(found: Rates, declared: float) -> Evidence:
    """A function may give the rate or its factor."""
    top = max(found.values)
    wanted = [declared] if found.of_scheduler else [declared, 1.0]
    off = min(abs(top / peak - 1) for peak in wanted)
    return Evidence(
        measured=off, bound=0.05, unit="of the declared peak", where=f"step {found.peak}", figure=_drawn(found),
        saw=f"the highest rate is {top:.3g}, {declared:.3g} is declared" if off > 0.05 else "",
    )  # fmt: skip


@law(
    "schedule/resumes",
    statement="Saved and loaded, the schedule goes on at the same rate; a function of the step has no memory.",
    source="PyTorch, torch.optim.lr_scheduler: state_dict",
    looks="Moves the state after seven steps to a new copy and compares the next five; asks a function again.",
    tolerance="None.",
    symptoms="The rate jumps after each restart, or warms up again.",
    causes="A count kept outside the state; a function that counts its own calls.",
    needs=("schedule",),
)
def resumes(subject: Subject) -> Evidence:
    """Stopped at step 5000 and begun again, a run without the schedule's state warms up for a second time."""
    schedule = subject.schedule
    if not is_scheduler(schedule):
        rates(subject)
        twice = [[rate_at(schedule, step) for step in (3, 500, 3)] for _ in range(2)]
        wrong = float(twice[0] != twice[1] or twice[0][0] != twice[0][2])
        return Evidence(
            measured=wrong, bound=0.0, where="step 3",
            saw="the function answers otherwise when it is asked again" if wrong else "",
        )  # fmt: skip
    if not hasattr(schedule, "state_dict"):
        raise NotApplicable("the schedule has no state_dict")
    rates(subject)
    going, fresh = copied_schedule(schedule), copied_schedule(schedule)
    for _ in range(7):
        advance(going)
    fresh.load_state_dict(copy.deepcopy(going.state_dict()))
    for old, new in zip(going.optimizer.param_groups, fresh.optimizer.param_groups, strict=True):
        new["lr"] = old["lr"]  # it is the optimizer's state, which is saved with it
    pairs = [(advance(going), advance(fresh)) for _ in range(5)]
    wrong = sum(abs(one - other) > 1e-12 for one, other in pairs)
    return Evidence(
        measured=float(wrong), bound=0.0, unit="steps", where="after step 7",
        saw="the rates are others after loading" if wrong else "",
    )  # fmt: skip
