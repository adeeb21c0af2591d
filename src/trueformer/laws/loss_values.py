"""Laws of the loss as a function of logits: it is the cross-entropy, its gradient too, and finite. V: vocabulary."""

import math

import torch
from torch import Tensor

from trueformer.laws.data_batches import batches, slim
from trueformer.laws.law import Evidence, law
from trueformer.laws.loss_objective import (
    EXACT,
    Fit,
    Objective,
    fit,
    gradient_at,
    matching,
    objective,
    scored_ids,
    spread,
)
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

NATURAL = "Shannon 1948; Vaswani et al. 2017, arXiv:1706.03762, §5"
ALLOWED = 0.1  # of the targets: what ends documents and rows
UNSEEN = 1e-6  # a share of the largest gradient; what is not counted has exactly none


@law(
    "loss/positive",
    statement="A cross-entropy is never below zero.",
    source=NATURAL,
    looks="Computes the loss of random logits for six random sets of targets and takes the smallest.",
    tolerance="-1e-6: -log of a probability is at least 0, up to rounding.",
    symptoms="The loss falls below zero without end; the model learns to avoid the right token.",
    causes="The minus sign was forgotten, or `gather` is on the logits rather than on their log-softmax.",
    needs=("loss",),
)
def positive(subject: Subject) -> Evidence:
    """For a probability p ≤ 1 of the right token, -log p ≥ 0; at p = 0.25 it is 1.386.

    Without the minus sign it is -1.386, and making that smaller still makes p smaller.
    """
    least = min(fit(subject).values)
    return Evidence(
        measured=least, bound=-1e-6, at_least=True, unit="nats", where="random logits",
        saw=f"a loss of {least:.4g}" if least < -1e-6 else "",
    )  # fmt: skip


@law(
    "loss/cross-entropy",
    statement="The loss is the cross-entropy of the logits and the targets.",
    source=NATURAL,
    looks="Compares the loss of several random targets with a float64 reference on the same logits.",
    tolerance="1e-3 of its spread: float32 leaves 1e-5. Smoothing, bits, sums and terms that no target enters are legal.",
    symptoms="Losses that cannot be compared with anyone's; slow or no learning.",
    causes="Softmax before cross_entropy, the wrong axis, reshaped without regard to rows, the wrong class weights.",
    needs=("loss",),
)
def cross_entropy(subject: Subject) -> Evidence:
    """Logits (2, 0, 0) and target 0: the loss is log(e² + 1 + 1) - 2 = 0.240.

    Passed through softmax first, they are (0.79, 0.11, 0.11), and the loss of those is 0.691: never below 0.55, however
    sure the model is, since probabilities used as logits can differ by at most 1.
    """
    how = fit(subject)
    moved = {0: "targets as given", 1: "targets shifted inside"}.get(
        how.shift, f"targets moved by {how.shift}"
    )
    if not how.matches:
        return Evidence(
            measured=how.residual, bound=EXACT, where=moved, saw="it is no cross-entropy of these logits and targets"
        )  # fmt: skip
    smooths = 0.5 <= how.slope < 1 and how.offset > EXACT
    factors = [1.0, 1 / math.log(2), float(how.terms), how.terms / how.rows] + [how.slope] * smooths
    off = min(abs(how.slope / factor - 1) for factor in factors)
    return Evidence(
        measured=max(off, how.residual), bound=EXACT, where=moved,
        saw=f"the loss is {how.slope:.4g} times the cross-entropy" if off > EXACT else "",
    )  # fmt: skip


def _plain(subject: Subject) -> tuple[Objective, Fit]:
    how = matching(subject)
    if not how.is_plain:
        raise NotApplicable("the loss is a sum, is smoothed, or holds further terms")
    return objective(subject), how


@law(
    "loss/gradient",
    statement="The gradient at the logits is softmax minus one-hot, over the number of targets.",
    source="Bridle 1990; any derivation of softmax regression",
    looks="Compares the gradient of the loss with respect to the logits with the formula in float64.",
    tolerance="1e-3 of its largest entry: float32 leaves 1e-5.",
    symptoms="The loss is right and the model hardly learns.",
    causes="A detached part, a custom backward pass, gradients scaled by hand.",
    needs=("loss",),
)
def gradient(subject: Subject) -> Evidence:
    """Probabilities (0.7, 0.2, 0.1) and target 1 give (0.7, -0.8, 0.1) for one token, an eighth of it for eight.

    It sums to zero: what one logit gains, the others lose.
    """
    judge, how = _plain(subject)
    whole = judge.drawn(0)
    _, seen, logits = gradient_at(judge, whole, spread if judge.swaps else None)
    leaf = logits.double().requires_grad_()
    at = torch.arange(leaf.shape[1]) + how.shift
    targets = scored_ids(whole)
    inside = (at >= 0) & (at < targets.shape[1])
    asked = targets[:, at[inside]].long()
    chosen = torch.log_softmax(leaf[:, inside], -1).gather(-1, asked[..., None])
    (-chosen.mean()).backward()
    assert leaf.grad is not None
    off = float((seen.double() - leaf.grad).abs().max() / leaf.grad.abs().max())
    return Evidence(
        measured=off, bound=EXACT, where="the logits", saw="another gradient than softmax - onehot" if off > EXACT else ""
    )  # fmt: skip


@law(
    "loss/constant-shift",
    statement="Adding the same number to all logits of a token changes nothing.",
    source="softmax(x + c) = softmax(x)",
    looks="Adds 7 to random logits and compares the loss.",
    tolerance="1e-3 nats: float32 leaves 1e-6.",
    symptoms="The loss can be lowered by a bias that says nothing about any token.",
    causes="Exponentials clipped or summed without the largest taken out; logits normalised by hand; a wrong axis.",
    needs=("loss",),
)
def constant_shift(subject: Subject) -> Evidence:
    """Logits (1, 3) and (8, 10) mean the same: the second token is e² times as likely as the first."""
    judge, _ = _plain(subject)
    whole = judge.drawn(0)
    plain, moved = (float(judge.score(whole, put)[0].detach()) for put in (spread, lambda s: spread(s) + 7))
    return Evidence(
        measured=abs(plain - moved), bound=1e-3, unit="nats", where="random logits + 7",
        saw=f"the loss goes from {plain:.4f} to {moved:.4f}" if not abs(plain - moved) <= 1e-3 else "",
    )  # fmt: skip


@law(
    "loss/finite",
    statement="The loss and its gradient are finite at extreme logits.",
    source="log-sum-exp with the largest taken out: Goodfellow et al. 2016, Deep Learning, §4.1",
    looks="Scores logits of ±10,000, where exponentials overflow in every precision in use.",
    tolerance="No entry may be infinite or NaN.",
    symptoms="NaN after a spike, often weeks into a run.",
    causes="`log(softmax(x))` or `x.exp() / x.exp().sum()` in place of log_softmax.",
    needs=("loss",),
)
def finite(subject: Subject) -> Evidence:
    """exp(10000) overflows and exp(-10000) is 0, whose log is -inf; log_softmax subtracts the largest logit first."""
    judge = objective(subject)
    loss, slope, _ = gradient_at(judge, judge.drawn(0), lambda shape: 1e4 * spread(shape).sign())
    broken = int((~torch.isfinite(slope)).sum()) + int(not math.isfinite(float(loss)))
    return Evidence(
        measured=float(broken), bound=0.0, unit="entries not finite", where="logits of ±10,000",
        saw=f"a loss of {float(loss)} with {broken} entries that are not finite" if broken else "",
    )  # fmt: skip


@law(
    "loss/perfect",
    statement="A perfect prediction costs nothing.",
    source="-log 1 = 0",
    looks="Gives each right token a logit of 60 and all others 0.",
    tolerance="1e-3 nats: what is left is V·e⁻⁶⁰.",
    symptoms="The loss stops at a floor that no training goes below.",
    causes="Softmax applied twice; a temperature; probabilities clipped; a further term that is not meant.",
    needs=("loss",),
)
def perfect(subject: Subject) -> Evidence:
    """Softmax applied twice turns logits (60, 0, 0) into (1, 0, 0) and then into (0.58, 0.21, 0.21): 0.55 is left."""
    how, judge = fit(subject), objective(subject)
    if how.matches and not how.is_plain:
        raise NotApplicable("the loss is a sum, is smoothed, or holds further terms")
    whole = judge.drawn(0)
    targets = scored_ids(whole)

    def right(shape: tuple[int, ...]) -> Tensor:
        at = (torch.arange(shape[1]) + how.shift).clamp(0, targets.shape[1] - 1)
        return torch.zeros(shape).scatter(-1, targets[:, at].long().cpu()[..., None], 60.0)

    cost = abs(float(judge.score(whole, right)[0].detach()))
    return Evidence(
        measured=cost, bound=1e-3, unit="nats", where="logits of 60 at the targets",
        saw=f"a certain and right prediction costs {cost:.4f}" if not cost <= 1e-3 else "",
    )  # fmt: skip


@law(
    "loss/initial",
    statement="A new model's loss is about the logarithm of the vocabulary.",
    source="Karpathy 2019, A Recipe for Training Neural Networks: verify loss @ init",
    looks="Scores random targets with the weights as they are, unless these already predict the loader's text.",
    tolerance="0.5 nats above ln V: logits of standard deviation 1 cost that much.",
    symptoms="The first hundreds of steps are spent unlearning what chance wrote into the head.",
    causes="A head or embedding initialised with a standard deviation of 1; a missing final norm or scale.",
    needs=("loss", "loader"),
    advice=True,
)
def initial(subject: Subject) -> Evidence:
    """Of 50,257 tokens none is preferred yet: each has a probability of 1/50,257, a loss of 10.8 nats.

    PyTorch initialises nn.Embedding with a standard deviation of 1. Tied to a head of width 768 this gives logits of
    standard deviation 28 and a first loss above 100.
    """
    _plain(subject)
    if subject.claims.scaled_logits:
        raise NotApplicable("the logits are declared to be scaled at initialisation (scaled_logits)")
    judge = Objective(subject, subject.copied().float().eval())
    at_random = sum(float(judge.score(judge.drawn(seed))[0].detach()) for seed in range(4)) / 4
    text = slim(batches(subject)[0].whole, 4, min(64, subject.length))
    on_text = float(judge.score(text)[0].detach())
    uniform = math.log(subject.vocab_size or 1)
    # Large random logits do better on one text than on another, too, but on none as well as chance.
    if on_text < min(uniform, at_random - 0.3):
        raise NotApplicable(
            "the weights seem trained: they predict the loader's text better than random targets, and than chance"
        )
    return Evidence(
        measured=at_random, bound=uniform + 0.5, unit="nats", where="the weights as they are",
        saw=f"{at_random:.2f} where ln V is {uniform:.2f}: the logits are too large" if at_random > uniform + 0.5 else "",
    )  # fmt: skip
