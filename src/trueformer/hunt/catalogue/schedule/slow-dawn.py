"""The warm-up is as many optimizer steps long as the configuration says, and rises evenly to the peak."""

import random

from trueformer.optim.config import ScheduleConfig
from trueformer.optim.schedules import factor


def probe(pick: random.Random) -> None:
    """Step i of w has the factor (i + 1) / w; the peak is reached, and the last step is at the final factor."""
    warmup, final = pick.randrange(1, 40), pick.uniform(0, 0.5)
    steps = warmup + pick.randrange(2, 300)
    for kind in ("cosine", "linear", "constant", "wsd"):
        schedule = ScheduleConfig(kind=kind, warmup_steps=warmup, final_factor=final)
        found = [factor(schedule, step, steps) for step in range(steps)]
        for step in range(warmup):
            assert abs(found[step] - (step + 1) / warmup) < 1e-9, f"{kind}: {found[step]} at step {step}"
        assert abs(max(found) - 1) < 1e-9, f"{kind} never reaches its peak"
        assert abs(found[-1] - (1.0 if kind == "constant" else final)) < 1e-9, f"{kind} ends at {found[-1]}"
