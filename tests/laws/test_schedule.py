"""The laws of schedules: silent on torch's and on functions of the step, and each breaks where its fault is."""

import math

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as of_torch

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict

V, PEAK, WARMUP, TOTAL = 20, 1e-3, 50, 1000
DECLARED = {"warmup_steps": WARMUP, "max_steps": TOTAL, "peak_lr": PEAK}


def parts(schedule, lr=PEAK):
    model = nn.Sequential(nn.Embedding(V, 4), nn.Linear(4, V))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    return model, {"optimizer": optimizer, "schedule": schedule(optimizer)}


def judged(law, schedule, lr=PEAK, **declared):
    model, given = parts(schedule, lr)
    return check(model, only=[law], vocab_size=V, **given, **declared).results[0]


def factor(step):
    if step < WARMUP:
        return (step + 1) / WARMUP
    done = min(1.0, (step - WARMUP) / (TOTAL - WARMUP))
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def chained(optimizer):
    first = of_torch.LinearLR(optimizer, start_factor=0.01, total_iters=WARMUP)
    second = of_torch.CosineAnnealingLR(optimizer, T_max=TOTAL - WARMUP)
    return of_torch.SequentialLR(optimizer, [first, second], milestones=[WARMUP])


SOUND = {
    "a factor": lambda o: of_torch.LambdaLR(o, factor),
    "a function of factors": lambda o: factor,
    "a function of rates": lambda o: lambda step: PEAK * factor(step),
    "warmup, then cosine": chained,
}
OTHERS = {
    "one low rate first": lambda o: of_torch.ConstantLR(o),
    "a short line": lambda o: of_torch.LinearLR(o),
    "constant": lambda o: of_torch.ConstantLR(o, factor=1.0),
    "one cycle": lambda o: of_torch.OneCycleLR(o, max_lr=1e-2, total_steps=200),
    "steps": lambda o: of_torch.MultiStepLR(o, [30, 80]),
    "restarts": lambda o: of_torch.CosineAnnealingWarmRestarts(o, T_0=50),
    "exponential": lambda o: of_torch.ExponentialLR(o, 0.999),
    "zero at step 0": lambda o: of_torch.LambdaLR(o, lambda step: min(1.0, step / 10)),
    "inverse root": lambda o: of_torch.LambdaLR(o, lambda s: min((s + 1) / 40, (40 / (s + 1)) ** 0.5)),
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_schedules_keep_what_is_declared(kind):
    model, given = parts(SOUND[kind])
    report = check(model, only=["schedule"], vocab_size=V, **given, **DECLARED)
    assert not report.broken, [(r.law.id, r.evidence or r.reason) for r in report.broken]
    assert not report.advice, [(r.law.id, r.evidence) for r in report.advice]
    verdicts = {r.law.id: r.verdict for r in report.results}
    assert verdicts["schedule/warmup-ends-where-it-says"] is Verdict.HOLDS
    assert verdicts["schedule/peak-is-the-rate"] is Verdict.HOLDS


@pytest.mark.parametrize("kind", OTHERS)
def test_schedules_of_other_shapes_break_no_law(kind):
    model, given = parts(OTHERS[kind])
    report = check(model, only=["schedule"], vocab_size=V, **given)
    assert not report.broken, [(r.law.id, r.evidence or r.reason) for r in report.broken]


def noam(optimizer):
    return of_torch.LambdaLR(optimizer, lambda s: 512**-0.5 * min((s + 1) ** -0.5, (s + 1) * 4000**-1.5))


def test_noams_schedule_on_a_base_of_one_is_sound():
    model, given = parts(noam, lr=1.0)
    assert not check(model, only=["schedule"], vocab_size=V, **given).broken


class Counting:
    """A function that is no function: it counts its own calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return PEAK / self.calls


class Forgetful(of_torch.LambdaLR):
    """A scheduler whose place is not in its state."""

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def kinked(step):
    return factor(step) if step < 25 or step >= WARMUP else 0.1


def periodic(step):
    return 0.5 * (1 + math.cos(2 * math.pi * step / 300))


FAULTS = {
    "schedule/finite": (lambda o: lambda step: 1 - step / 900, DECLARED),
    "schedule/starts": (lambda o: lambda step: min(1, step // WARMUP), DECLARED),
    "schedule/warmup-rises": (lambda o: of_torch.LambdaLR(o, kinked), {}),
    "schedule/warmup-ends-where-it-says": (
        lambda o: of_torch.LambdaLR(o, lambda s: min(1.0, (s + 1) / (4 * WARMUP))),
        DECLARED,
    ),
    "schedule/warmup-is-short": (
        lambda o: of_torch.LambdaLR(o, lambda s: min(1.0, (s + 1) / (100 * WARMUP))),
        DECLARED,
    ),
    "schedule/no-rise-after-peak": (lambda o: of_torch.LambdaLR(o, periodic), DECLARED),
    "schedule/no-jump": (lambda o: lambda s: factor(s) if s < WARMUP else 0.3 * factor(s), DECLARED),
    "schedule/peak-is-the-rate": (lambda o: of_torch.LambdaLR(o, lambda s: PEAK * factor(s)), {}),
    "schedule/resumes": (lambda o: Forgetful(o, factor), {}),
}


@pytest.mark.parametrize("law", FAULTS)
def test_each_law_breaks_where_its_fault_is(law):
    schedule, declared = FAULTS[law]
    result = judged(law, schedule, **declared)
    assert result.verdict in (Verdict.BROKEN, Verdict.ADVICE), result
    assert result.evidence.saw


@pytest.mark.parametrize("warmup", [5, 50])
def test_a_warmup_that_ends_below_the_peak_is_seen(warmup):
    def short(step):
        return (step + 1) / (2 * warmup) if step < warmup else factor(step - warmup + WARMUP)

    assert judged("schedule/warmup-rises", lambda o: short).verdict is Verdict.BROKEN


def test_n5_a_warmup_beyond_its_own_plan_is_seen_without_any_declaration():
    def late(step):
        return (step + 1) / 5000 if step < 5000 else factor(step)

    assert judged("schedule/warmup-is-short", lambda o: late).verdict is Verdict.BROKEN
    assert judged("schedule/warmup-is-short", lambda o: factor).verdict is Verdict.HOLDS
    unending = judged("schedule/warmup-is-short", OTHERS["inverse root"])
    assert unending.verdict is Verdict.NOT_APPLICABLE


def test_a_function_that_counts_its_calls_is_seen():
    assert judged("schedule/resumes", lambda o: Counting()).verdict is Verdict.BROKEN


def test_another_peak_than_the_declared_one_is_seen():
    result = judged("schedule/peak-is-the-rate", lambda o: lambda s: 3 * PEAK * factor(s), **DECLARED)
    assert result.verdict is Verdict.BROKEN


def test_the_owners_schedule_stays_where_it_is():
    model, given = parts(SOUND["a factor"])
    check(model, only=["schedule"], vocab_size=V, **given, **DECLARED)
    assert given["schedule"].last_epoch == 0
    assert given["optimizer"].param_groups[0]["lr"] == PEAK / WARMUP
