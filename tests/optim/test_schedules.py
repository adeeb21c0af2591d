"""Schedules are exact at their stated steps, monotone in between, and continuous."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.optim.config import ScheduleConfig
from trueformer.optim.schedules import factor

KINDS = ["cosine", "linear", "constant", "wsd"]


def factors(schedule, steps):
    return [factor(schedule, step, steps) for step in range(steps)]


@st.composite
def schedules(draw):
    steps = draw(st.integers(1, 400))
    schedule = ScheduleConfig(
        kind=draw(st.sampled_from(KINDS)),
        warmup_steps=draw(st.integers(0, steps)),
        decay_fraction=draw(st.floats(0.01, 1.0)),
        final_factor=draw(st.floats(0.0, 1.0)),
    )
    return schedule, steps


@settings(deadline=None, max_examples=200)
@given(schedules())
def test_n5_the_peak_is_reached_at_the_last_warmup_step_and_only_then(case):
    schedule, steps = case
    values, warmup = factors(schedule, steps), schedule.warmup_steps
    assert values[: max(warmup - 1, 0)] == [(i + 1) / warmup for i in range(warmup - 1)]
    if warmup:
        assert values[warmup - 1] == 1.0
        assert all(value < 1.0 for value in values[: warmup - 1])
    assert values[0] > 0 or (steps == 1 and schedule.final_factor == 0)


def test_n5_warmup_counts_optimizer_steps():
    schedule = ScheduleConfig(kind="constant", warmup_steps=4)
    assert [factor(schedule, step, 100) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_t26_warmup_then_constant_never_decays():
    schedule = ScheduleConfig(kind="constant", warmup_steps=3, final_factor=0.0)
    assert factors(schedule, 50)[2:] == [1.0] * 48
    assert factor(schedule, 1000, 50) == 1.0


@settings(deadline=None, max_examples=200)
@given(schedules())
def test_after_the_peak_it_only_falls_and_ends_at_the_final_factor(case):
    schedule, steps = case
    values = factors(schedule, steps)
    after = values[max(schedule.warmup_steps - 1, 0) :]
    assert all(a >= b for a, b in itertools.pairwise(after))
    assert all(0 <= value <= 1 for value in values)
    if schedule.kind != "constant" and steps > max(schedule.warmup_steps, 1):
        assert values[-1] == schedule.final_factor
        assert factor(schedule, steps + 10, steps) == schedule.final_factor


@settings(deadline=None, max_examples=200)
@given(schedules())
def test_no_jump_is_larger_than_the_steepest_slope(case):
    schedule, steps = case
    values, warmup = factors(schedule, steps), schedule.warmup_steps
    decaying = max(1, steps - max(warmup, 1))
    if schedule.kind == "wsd":
        decaying = max(1, min(decaying, round(schedule.decay_fraction * steps)))
    # A cosine over n steps is at its steepest pi / 2n; a line 1 / n.
    bound = max(1 / max(warmup, 1) if warmup else 0, 1.5708 / decaying) + 1e-9
    assert all(abs(a - b) <= bound for a, b in itertools.pairwise(values))


def test_each_shape_against_hand_computed_values():
    expected = {
        "linear": [1.0, 0.75, 0.5, 0.25, 0.0],
        "cosine": [1.0, 0.8535533905932737, 0.5, 0.14644660940672627, 0.0],
        "constant": [1.0, 1.0, 1.0, 1.0, 1.0],
        "wsd": [1.0, 1.0, 1.0, 0.5, 0.0],
    }
    for kind, values in expected.items():
        assert factors(ScheduleConfig(kind=kind), 5) == pytest.approx(values, abs=1e-15), kind


def test_impossible_steps_are_refused():
    with pytest.raises(ValueError, match="step is -1"):
        factor(ScheduleConfig(), -1, 10)
    with pytest.raises(ValueError, match="at least warmup_steps = 20"):
        factor(ScheduleConfig(warmup_steps=20), 0, 10)
