"""Warm-up, plateau, decay: the rate stays at its peak until the share of the run that decays begins."""

import random

from trueformer.optim.config import ScheduleConfig
from trueformer.optim.schedules import factor


def probe(pick: random.Random) -> None:
    """The three parts written out; a decay that would begin within the warm-up begins at its end."""
    for share in (pick.uniform(0.1, 0.6), 1.0):
        warmup, steps, final = pick.randrange(1, 20), pick.randrange(60, 200), pick.uniform(0, 0.4)
        schedule = ScheduleConfig(kind="wsd", warmup_steps=warmup, decay_fraction=share, final_factor=final)
        begin, end = max(warmup - 1, steps - 1 - round(share * steps)), steps - 1
        for step in range(steps):
            left = 1.0 if step <= begin else (end - step) / (end - begin)
            wanted = (step + 1) / warmup if step < warmup else final + (1 - final) * left
            found = factor(schedule, step, steps)
            assert abs(found - wanted) < 1e-9, f"step {step} of {steps}: {found}, expected {wanted}"
