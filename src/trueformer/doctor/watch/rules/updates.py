"""Whether a step moves the weights: at all, by a sane amount, and to finite values."""

import math
from collections import Counter

import torch
from torch import Tensor

from trueformer.doctor.watch.owners import Owner
from trueformer.doctor.watch.rule import Rule
from trueformer.doctor.watch.samples import Sample, entries
from trueformer.laws.law import Law, write

LOW = (torch.bfloat16, torch.float16)
IN_A_ROW = 3
RESOLVED = 1e-6  # of the weight: smaller moves are below what float32 resolves


class Unmoved(Rule):
    """Judges live/unmoved."""

    law = write(
        Law(
            id="live/unmoved",
            statement="A parameter with a gradient and a rate moves when its optimizer steps.",
            source="w ← w - lr · f(g): nonzero wherever the gradient is.",
            looks=(
                "Compares up to 4096 entries of each parameter before and after, on sampled steps, "
                f"{IN_A_ROW} in a row."
            ),
            tolerance=(
                "Exact in float32, where lr · |g| is above 10⁻⁶ of the weight and other parameters move."
            ),
            symptoms="A layer keeps its first weights though its gradient is logged.",
            causes=(
                "A step that writes to a copy; weights restored after each step; a rule that skips a shape."
            ),
            lesson="p.data.clone().add_(update) moves the clone.",
        )
    )
    unjudged = "no close look at a step of float32 parameters was taken"

    def prepare(self) -> None:
        self._still: Counter[int] = Counter()

    def step_ends(self, owner: Owner) -> None:
        rates = owner.rate_of() if self.run.samples else {}
        due = [s for s in self.run.samples if s.before.dtype not in LOW and _should_move(s, rates)]
        still = [s for s in due if torch.equal(s.before, entries(s.parameter))]
        self.judged += bool(due)
        if len(still) == len(due):
            return
        for sample in due:
            id_ = id(sample.parameter)
            self._still[id_] = self._still[id_] + 1 if sample in still else 0
            if self._still[id_] == IN_A_ROW:
                self.broke(
                    f"it has a gradient, and has not moved in {IN_A_ROW} steps",
                    measured=0,
                    bound=RESOLVED,
                    at_least=True,
                    where=self.run.models.name(sample.parameter),
                )


def _should_move(sample: Sample, rates: dict[int, float]) -> bool:
    gradient = sample.gradient.float().abs().max() if sample.gradient.numel() else torch.zeros(())
    weight = sample.before.float().abs().max() if sample.before.numel() else torch.zeros(())
    expected = rates.get(id(sample.parameter), 0.0) * float(gradient)
    return float(gradient) > RESOLVED and expected > RESOLVED * float(weight)


class UpdateRatio(Rule):
    """Judges live/update-ratio."""

    law = write(
        Law(
            id="live/update-ratio",
            statement="A step does not move a matrix by more than its own size, step after step.",
            source="Healthy training moves a matrix by about 10⁻³ of its norm a step.",
            looks="‖w' - w‖ / ‖w‖ over up to 4096 entries of each matrix, on sampled steps.",
            tolerance=(
                "1, broken only five samples in a row: matrices that begin at zero pass through large ratios."
            ),
            symptoms="The loss jumps about or stays at the level of chance.",
            causes=(
                "A rate a thousand times too large; a gradient that is summed instead of averaged under SGD."
            ),
            lesson="At ratio 1 the new matrix owes half of itself to one batch.",
        )
    )
    unjudged = "no close look at a step was taken"

    def prepare(self) -> None:
        self._large: Counter[int] = Counter()

    def step_ends(self, owner: Owner) -> None:
        for sample in self.run.samples:
            size = float(sample.before.float().norm()) if sample.parameter.dim() > 1 else 0.0
            if not size:
                continue
            self.judged += 1
            ratio = float((entries(sample.parameter).float() - sample.before.float()).norm()) / size
            self._large[id(sample.parameter)] = self._large[id(sample.parameter)] + 1 if ratio > 1 else 0
            if self._large[id(sample.parameter)] >= 5:
                self.broke(
                    "five samples in a row moved by more than the weight's own norm",
                    measured=ratio,
                    bound=1,
                    where=self.run.models.name(sample.parameter),
                )


class LostUpdates(Rule):
    """Judges live/bf16-updates-lost."""

    law = write(
        Law(
            id="live/bf16-updates-lost",
            statement="Updates of 16-bit parameters are not rounded away.",
            source="bf16 keeps 8 bits: adding less than 2⁻⁹ of a weight changes nothing (findings: A8).",
            looks=(
                "Counts entries that have a gradient and stay the same, on sampled steps, where torch's own"
                " optimizers step."
            ),
            tolerance=(
                "90 % unchanged in three samples, past warmup and before decay; stochastic rounding is not "
                "torch's own."
            ),
            symptoms="The loss stops falling early; a smaller rate makes it worse.",
            causes=(
                "model.bfloat16() with a plain optimizer: keep float32 parameters and use autocast, or a "
                "master copy."
            ),
            lesson="In bf16, 1.0 - 0.001 = 1.0. A thousand such steps still give 1.0.",
        )
    )
    unjudged = "no 16-bit parameters were stepped by an optimizer of torch"

    def prepare(self) -> None:
        self._lost: Counter[int] = Counter()
        self._rates: dict[int, list[float]] = {}

    def step_ends(self, owner: Owner) -> None:
        low = [s for s in self.run.samples if s.before.dtype in LOW and bool(s.gradient.any())]
        if not low or not type(owner.optimizer()).__module__.startswith("torch.optim"):
            return
        self.judged += 1
        same = sum(int(((entries(s.parameter) == s.before) & (s.gradient != 0)).sum()) for s in low)
        share = same / sum(int((s.gradient != 0).sum()) for s in low)
        lost = share > 0.9 and self._at_full_rate(owner)
        self._lost[id(owner)] = self._lost[id(owner)] + 1 if lost else 0
        if self._lost[id(owner)] >= IN_A_ROW:
            self.broke(
                f"{share:.0%} of the {low[0].before.dtype} entries with a gradient did not change",
                measured=share,
                bound=0.9,
                where=self.run.models.name(low[0].parameter),
            )

    def _at_full_rate(self, owner: Owner) -> bool:
        """Past warmup and not yet decayed: the rate does not rise, and is half its peak or more."""
        rates = self._rates.setdefault(id(owner), [])
        rates.append(max(owner.rates(), default=0.0))
        return rates[-1] > 0 and rates[-1] <= rates[-2:][0] and rates[-1] >= max(rates) / 2


class Finite(Rule):
    """Judges live/finite."""

    law = write(
        Law(
            id="live/finite",
            statement="Weights stay finite.",
            source="IEEE 754: NaN and infinity survive every later sum and product.",
            looks=(
                "Reads the weights after steps whose loss or clipped norm was not finite, and on sampled "
                "steps."
            ),
            tolerance=(
                "Exact. A non-finite loss or gradient whose step is left out is legal, as under a gradient "
                "scaler."
            ),
            symptoms="The loss is nan from some step on.",
            causes=(
                "Overflow in float16; log or division by zero; a rate too large; a fully masked row of "
                "attention."
            ),
            lesson="One nan in a gradient norm makes the clip factor nan, and so every weight.",
        )
    )
    unjudged = "no optimizer stepped"

    def prepare(self) -> None:
        self._suspicion = ""

    def backward_begins(self, roots: tuple[Tensor, ...]) -> None:
        for root in roots:
            if root.numel() == 1 and self._cheap(root) and not math.isfinite(float(root.detach())):
                self._suspicion = f"the loss was {float(root.detach())}; "

    def clip_ends(self, parameters: list[Tensor], bound: object, norm: object) -> None:
        if isinstance(norm, Tensor) and self._cheap(norm) and not math.isfinite(float(norm)):
            self._suspicion = self._suspicion or f"the gradient's norm was {float(norm)}; "

    def _cheap(self, tensor: Tensor) -> bool:
        return tensor.device.type == "cpu" or self.run.close_look

    def step_ends(self, owner: Owner) -> None:
        self.judged += 1
        suspicion, self._suspicion = self._suspicion, ""
        if not suspicion and not self.run.close_look:
            return
        for parameter in owner.parameters:
            bad = int((~torch.isfinite(entries(parameter))).sum()) if parameter.is_floating_point() else 0
            if bad:
                self.broke(
                    f"{suspicion}after the step weights are not finite",
                    measured=bad,
                    bound=0,
                    where=self.run.models.name(parameter),
                )
                return
