"""Whether learning rates and loss scales are what they should be, and follow the plan."""

import math
from collections import Counter
from dataclasses import dataclass, fields

from trueformer.doctor.watch.owners import Owner
from trueformer.doctor.watch.rule import Rule
from trueformer.laws.law import Law, write

ZERO_STEPS = 100
JUMP = 100.0
SKIPS = 20


class LearningRate(Rule):
    """Judges live/learning-rate."""

    law = write(
        Law(
            id="live/learning-rate",
            statement="Learning rates are finite, not negative, and not zero from the start.",
            source="w ← w - lr · f(g): a negative rate climbs, a rate of zero learns nothing.",
            looks="Reads the rate of every group before each step.",
            tolerance=f"Exact; zero in all groups is legal for {ZERO_STEPS - 1} steps, as in a warmup.",
            symptoms="The loss does not move, grows, or is nan.",
            causes="An integer division in the warmup; a schedule that runs past its end and below zero.",
            lesson="lr = base * (step // warmup) is zero for the whole warmup.",
        )
    )
    unjudged = "no torch optimizer stepped"

    def prepare(self) -> None:
        self._zeros: Counter[int] = Counter()

    def step_begins(self, owner: Owner) -> None:
        rates = owner.rates()
        self.judged += bool(rates)
        bad = [rate for rate in rates if not math.isfinite(rate) or rate < 0]
        if bad:
            self.broke(f"a learning rate is {bad[0]}", measured=bad[0], bound=0, at_least=True)
        if rates and not any(rates) and self._zeros[id(owner)] == owner.steps:
            self._zeros[id(owner)] += 1
            if self._zeros[id(owner)] == ZERO_STEPS:
                self.broke(
                    f"all learning rates were 0 for {ZERO_STEPS} steps",
                    measured=0,
                    bound=1e-12,
                    at_least=True,
                )


class LearningRatePath(Rule):
    """Judges live/learning-rate-path."""

    law = write(
        Law(
            id="live/learning-rate-path",
            statement="A schedule that was built is used, and rates do not jump up a hundredfold.",
            source="Schedules move rates smoothly; a jump is usually two sources of one rate.",
            looks="Reads the rates before each step, and counts the steps of schedules.",
            tolerance="Advice: warm restarts may jump, and a schedule may be meant for a later phase.",
            symptoms="A spike of the loss; or a constant rate where a decay was planned.",
            causes=(
                "scheduler.step() was forgotten; the loop writes a rate of its own; milliseconds for seconds."
            ),
            lesson="A run of 20 steps or more whose schedule never moved has a constant rate.",
            advice=True,
        )
    )
    unjudged = "no torch optimizer stepped twice"

    def prepare(self) -> None:
        self._last: dict[int, float] = {}
        self._built: dict[int, Owner] = {}

    def schedule_made(self, owner: Owner) -> None:
        self._built[id(owner)] = owner

    def schedule_steps(self, owner: Owner) -> None:
        self._built.pop(id(owner), None)

    def step_begins(self, owner: Owner) -> None:
        rate, last = max(owner.rates(), default=0.0), self._last.get(id(owner), 0.0)
        self._last[id(owner)] = rate
        self.judged += last > 0
        if last > 0 and rate > JUMP * last:
            self.broke(f"the rate jumps from {last:.3g} to {rate:.3g}", measured=rate / last, bound=JUMP)

    def finish(self) -> None:
        for owner in self._built.values():
            if owner.steps >= 20:
                self.broke(
                    f"a schedule was built for {owner}, and never moved in {owner.steps} steps",
                    measured=0,
                    bound=1,
                    at="",
                    step=self.run.done,
                )


class LossScale(Rule):
    """Judges live/loss-scale."""

    law = write(
        Law(
            id="live/loss-scale",
            statement="A gradient scaler finds a scale at which gradients are finite.",
            source=(
                "Micikevicius et al. 2018, arXiv 1710.03740: halve on overflow, grow after many good steps."
            ),
            looks="Counts steps the scaler leaves out in a row, and reads its scale on sampled steps.",
            tolerance=(
                f"{SKIPS} steps left out in a row, or a scale below 1. A forgotten update() is refused by "
                "torch itself."
            ),
            symptoms="The loss does not move; the scale falls towards zero.",
            causes="Gradients that are nan at every scale: a division by zero, a log of zero, a masked row.",
            lesson=(
                "From 65536, twenty overflows in a row leave 0.06: no scale helps, the gradient itself is "
                "nan."
            ),
        )
    )
    unjudged = "no gradient scaler was used"

    def prepare(self) -> None:
        self._left_out: Counter[int] = Counter()

    def scaler_steps(self, owner: Owner, stepped: bool) -> None:
        self.judged += 1
        self._left_out[id(owner)] = 0 if stepped else self._left_out[id(owner)] + 1
        if self._left_out[id(owner)] == SKIPS:
            self.broke(f"the scaler has left out {SKIPS} steps in a row", measured=SKIPS, bound=SKIPS - 1)

    def scaler_updates(self, scale: float | None) -> None:
        if scale is not None and scale < 1:
            self.broke(f"the loss scale is down to {scale:g}", measured=scale, bound=1, at_least=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """What the user says the rate should do: rise for `warmup` steps to `peak`, and end after `steps`."""

    warmup: int = 0
    steps: int = 0
    peak: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Read "warmup=100,steps=1000,peak=3e-4".

        Raises:
            ValueError: an unknown name, or what is not a number.
        """
        names = {field.name: int if field.name != "peak" else float for field in fields(cls)}
        pairs = [part.partition("=") for part in text.split(",")]
        try:
            return cls(**{name.strip(): names[name.strip()](value) for name, _, value in pairs})  # type: ignore[arg-type]
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"the plan is {text!r}: expected numbers for some of {', '.join(names)}, as in "
                '"warmup=100,steps=1000,peak=3e-4"'
            ) from error


class Plan(Rule):
    """Judges live/plan; does nothing without a plan."""

    law = write(
        Law(
            id="live/plan",
            statement="The learning rate does what the plan says.",
            source="The plan given with --plan (findings: N5).",
            looks="Compares the largest rate of each step with a linear warmup to the peak.",
            tolerance="A tenth of the peak and one step of the warmup.",
            symptoms="No learning for thousands of steps; or a rate that never decays.",
            causes="A warmup in tokens or micro-batches read as steps; a factor of 100 too many.",
            lesson=(
                "Planned: peak 3e-4 at step 100. Seen at step 100: 3e-6. The warmup is 100 times too long."
            ),
            needs=("--plan",),
        )
    )
    unjudged = "no plan was given: --plan warmup=100,steps=1000,peak=3e-4"
    schedule: Schedule | None = None

    def step_begins(self, owner: Owner) -> None:
        plan, rate, step = self.schedule, max(owner.rates(), default=-1.0), owner.steps + 1
        if plan is None or rate < 0:
            return
        self.judged += 1
        if plan.steps and step > plan.steps:
            self.broke(f"step {step} of a plan of {plan.steps}", measured=step, bound=plan.steps)
        if not plan.peak:
            return
        planned = plan.peak * min(1.0, step / plan.warmup if plan.warmup else 1.0)
        slack = plan.peak * (0.1 + (1 / plan.warmup if plan.warmup else 0.0))
        too_low = step <= plan.warmup + 1 and rate < planned - slack
        if too_low or rate > planned + slack:
            self.broke(f"the rate is {rate:.3g}, and {planned:.3g} was planned", measured=rate, bound=planned)
