"""The learning-rate factor as a pure function of the optimizer step: no state to save, none to get wrong.

Counts optimizer steps, never micro-batches or tokens. With warm-up over w steps, step i < w has factor (i +
1) / w: the first step already moves, and the peak, exactly 1, is reached at step w - 1. The last step, steps
- 1, has exactly `final_factor` for every kind but `constant`. Leaves out restarts and schedules over anything
but steps.
"""

import math

from trueformer.optim.config import ScheduleConfig


def factor(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """The share of the peak rate for the 0-based optimizer `step` about to be taken, of `steps` in all.

    Past the end it stays at its last value. Example: warmup_steps=4 gives 0.25, 0.5, 0.75, 1, then the decay.

    Raises:
        ValueError: a negative step, or a horizon that cannot hold the warm-up.
    """
    warmup = schedule.warmup_steps
    if step < 0:
        raise ValueError(f"step is {step}: expected the 0-based optimizer step about to be taken")
    if steps < max(1, warmup):
        raise ValueError(f"steps is {steps}: expected at least 1 and at least warmup_steps = {warmup}")
    if step < warmup:
        return (step + 1) / warmup
    if schedule.kind == "constant":
        return 1.0
    start = max(warmup - 1, 0)  # the last step at the peak when decay begins at once
    if schedule.kind == "wsd":
        start = max(start, steps - 1 - round(schedule.decay_fraction * steps))
    left = _share_left(step, start, steps - 1)
    shape = 0.5 * (1 - math.cos(math.pi * left)) if schedule.kind == "cosine" else left
    return schedule.final_factor + (1 - schedule.final_factor) * shape


def _share_left(step: int, start: int, end: int) -> float:
    """1 up to `start`, falling evenly to 0 at `end` and staying there."""
    if step <= start:
        return 1.0
    return max(0.0, (end - step) / (end - start)) if end > start else 0.0
