"""Whether the loss has the right sign, starts where it should, and is averaged over micro-batches."""

import math

from torch import Tensor

from trueformer.doctor.watch.owners import Owner
from trueformer.doctor.watch.place import place
from trueformer.doctor.watch.rule import Rule
from trueformer.doctor.watch.run import CrossEntropy
from trueformer.laws.law import Law, write

SCALES = (
    "Mean",
    "Sum",
    "Div",
    "Neg",
    "Mul",
    "View",
    "UnsafeView",
    "ReshapeAlias",
    "Squeeze",
    "ToCopy",
    "Clone",
)
PICKS = ("Gather", "Index", "MaskedSelect", "Select")
LOGS = ("LogSoftmax", "Log")


class LossSign(Rule):
    """Judges live/loss."""

    law = write(
        Law(
            id="live/loss",
            statement="A cross-entropy that is minimised is not negative.",
            source="-log p ≥ 0 for every p ≤ 1 (findings: K7).",
            looks=(
                "Reads the loss on sampled steps; where it is negative, follows its graph back to the "
                "log-probabilities."
            ),
            tolerance=(
                "Exact. Only a plain multiple of a cross-entropy, or of picked log-probabilities, is judged."
            ),
            symptoms="The loss falls below zero and keeps falling; the model learns the wrong tokens.",
            causes="The minus sign was forgotten, or written twice.",
            lesson=(
                "loss = log_probs.gather(-1, y).mean() is about -ln V at first, and minimising it makes the"
                " target unlikely."
            ),
        )
    )
    unjudged = "no close look at a scalar loss was taken"

    def backward_begins(self, roots: tuple[Tensor, ...]) -> None:
        if not self.run.close_look or len(roots) != 1 or roots[0].numel() != 1:
            return
        self.judged += 1
        value = float(roots[0].detach())
        if value < 0 and _is_likelihood(roots[0]):
            self.broke(
                f"the loss is {value:.3g}: a log-likelihood without its minus sign",
                measured=value,
                bound=0,
                at_least=True,
            )


def _is_likelihood(root: Tensor) -> bool:
    """Whether the root is a positive or negative multiple of a cross-entropy, as far back as one can tell."""
    node, seen = root.grad_fn, set()
    for _ in range(16):
        if node is None:
            return False
        kind = node.name().split("::")[-1].partition("Backward")[0]
        if kind.startswith("NllLoss"):
            return True
        if kind not in (*SCALES, *PICKS, *LOGS) or not _keeps_sign(node, kind):
            return False
        seen |= {"log"} if kind in LOGS else {"pick"} if kind in PICKS else set()
        if seen == {"log", "pick"}:
            return True
        before = [parent for parent, _ in node.next_functions if parent is not None]
        node = before[0] if len(before) == 1 else None
    return False


def _keeps_sign(node: object, kind: str) -> bool:
    """A product with a tensor of mixed signs says nothing: such are policy gradients."""
    if kind not in ("Mul", "Div"):
        return True
    factors = [getattr(node, f"_saved_{side}", None) for side in ("self", "other")]
    tensors = [factor for factor in factors if isinstance(factor, Tensor) and not factor.requires_grad]
    return all(factor.numel() == 1 or bool((factor >= 0).all()) for factor in tensors)


class FirstLoss(Rule):
    """Judges live/first-loss."""

    law = write(
        Law(
            id="live/first-loss",
            statement="An untrained classifier of V classes has a loss near ln V.",
            source="The cross-entropy of a uniform guess.",
            looks="Reads the first mean cross-entropy that is trained on.",
            tolerance="Advice, above twice ln V; lower is no fault, since weights may be trained already.",
            symptoms="The first hundred steps only shrink the logits.",
            causes=(
                "Initial weights too large; a tied embedding with unit variance; scores not divided by √d."
            ),
            lesson="V = 50257: ln V = 10.8. A first loss of 300 says the logits are thirty times too large.",
            advice=True,
        )
    )
    unjudged = "no mean cross-entropy was computed in the first step"

    def cross_entropy(self, loss: CrossEntropy) -> None:
        if self.judged or self.run.done or loss.number is None or loss.classes < 2 or not loss.builds_graph:
            return
        self.judged = 1
        bound = 2 * math.log(loss.classes)
        if loss.number > bound:
            self.broke(
                f"the first loss is {loss.number:.3g}, where ln {loss.classes} = {bound / 2:.3g}",
                measured=loss.number,
                bound=bound,
            )


class Accumulation(Rule):
    """Judges live/accumulation."""

    law = write(
        Law(
            id="live/accumulation",
            statement=(
                "The mean losses of micro-batches are divided by their number before they are added up."
            ),
            source="The gradient of a mean over k parts is the mean of k gradients (findings: N4).",
            looks=(
                "Compares each backward's loss with the mean cross-entropy before it: a ratio of 1, k times"
                " a step, is a sum."
            ),
            tolerance=(
                "10⁻⁴. Judged where one line runs backward for all of them and gradients are not rescaled "
                "by hand."
            ),
            symptoms=(
                "Gradients grow with accumulation; under SGD the rate does, under clipping every step is "
                "clipped."
            ),
            causes=(
                "loss.backward() without / accumulation_steps. Divide by target tokens where micro-batches "
                "are unequal."
            ),
            lesson="Four micro-batches of mean loss 2 must give backward 0.5 each, not 2.",
        )
    )
    unjudged = "no step added up several mean cross-entropies"

    def prepare(self) -> None:
        self._last: CrossEntropy | None = None
        self._ratios: list[tuple[str, float]] = []

    def backward_begins(self, roots: tuple[Tensor, ...]) -> None:
        loss = self.run.cross_entropy
        known = loss is not None and loss is not self._last and loss.number and len(roots) == 1
        self._last = loss
        if known and loss and loss.number and roots[0].numel() == 1:
            self._ratios.append((place(), float(roots[0].detach()) / loss.number / self.run.scale))
        else:
            self._ratios.append(("", math.nan))

    def step_begins(self, owner: Owner) -> None:
        k = owner.gradients.pending
        ratios, self._ratios = self._ratios, []
        parts = ratios[-k:]
        if k < 2 or len(parts) < k or any(math.isnan(ratio) for _, ratio in parts):
            return
        self.judged += 1
        at = parts[0][0]
        whole = all(abs(ratio - 1) < 1e-4 and place == at for place, ratio in parts)
        if whole and not owner.gradients.edited:
            self.broke(f"{k} mean losses are added up undivided", measured=k, bound=1, at=at)
