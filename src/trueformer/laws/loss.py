"""The loss: it is the cross-entropy, of the right targets.

Judged is what is minimised: the owner's `loss`, of a model and a batch or of logits and targets, or the model's own.
Shapes: B rows, T tokens, V vocabulary.
"""

import math
from typing import Any

import torch
from torch import Tensor

from trueformer.laws.data_batches import batches, replaced, slim, special_id, understood
from trueformer.laws.law import Evidence, law
from trueformer.laws.loss_objective import (
    EXACT,
    Fit,
    Objective,
    fit,
    objective,
    per_token,
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
    "loss/shift",
    statement="The logits at each token are scored against the next token: shifted by exactly one.",
    source="Radford et al. 2019 (GPT-2), §2: p(s_n | s_1, …, s_{n-1})",
    looks="Finds which target each logit is scored against, and compares the loader's with its inputs one later.",
    tolerance="10 % of the targets may differ: ends of documents and of rows. Without a shift most do.",
    symptoms="With no shift the loss falls to 0 and the model copies; with two it learns to skip every other token.",
    causes="Targets equal the inputs; or they are shifted in the data and the model shifts them again.",
    needs=("loss", "loader"),
)
def shift(subject: Subject) -> Evidence:
    """Tokens a b c d: after a comes b. Data gives x = abc, y = bcd and the loss scores logits[t] with y[t]; or

    data gives labels = abcd and the model scores logits[t] with labels[t + 1]. One of the two must shift, not both:
    y = bcd with a model that shifts as well asks for c after a.
    """
    if not subject.claims.causal:
        raise NotApplicable("the model is declared to read in both directions (causal=False)")
    moved = _matching(subject).shift
    off, worst_of = _off(subject, moved, 1), {ahead: _off(subject, moved, ahead) for ahead in (0, 2)}
    likely = min(worst_of, key=worst_of.__getitem__)
    saw = "the target at t is not the token at t + 1"
    if worst_of[likely] <= ALLOWED:
        saw = f"the target of each token is {'itself' if likely == 0 else 'the one after the next'}"
    convention = {0: "as they are given", 1: "shifted by one inside"}.get(moved, f"moved by {moved} inside")
    return Evidence(
        measured=off, bound=ALLOWED, unit="of the targets", where=f"the loader's targets, scored {convention}",
        saw=saw if off > ALLOWED else "",
    )  # fmt: skip


def _off(subject: Subject, moved: int, ahead: int) -> float:
    """The share of targets, as the loss uses them, that are not the input `ahead` of their logits."""
    pad = special_id(subject, "pad")
    wrong = total = 0
    for batch in batches(subject):
        asked, given = scored_ids(batch.whole), batch.inputs
        start, end = max(0, -moved), given.shape[1] - max(moved, ahead, 0)
        target, token = asked[:, start + moved : end + moved], given[:, start + ahead : end + ahead]
        counted = batch.counted[:, start + moved : end + moved] & (target != (-1 if pad is None else pad))
        wrong += int(((target != token) & counted).sum())
        total += int(counted.sum())
    if not total:
        raise NotApplicable("no target counts in the first batches")
    return wrong / total


@law(
    "loss/ignores_padding",
    statement="What is marked as padding, or masked, has no part in the loss.",
    source="PyTorch, torch.nn.functional.cross_entropy, `ignore_index`",
    looks="Takes the gradient of the loss of a padded batch with respect to its logits at the padding.",
    tolerance="1e-6 of the largest: it is exactly 0 where nothing is counted.",
    symptoms="The loss looks too good, falls with the amount of padding, and the model learns to write padding.",
    causes="No `ignore_index`, or another one than the data's; padding left in the targets; a mask not used.",
    needs=("loss",),
)
def ignores_padding(subject: Subject) -> Evidence:
    """Two rows, `the cat sat` and `hi PAD PAD`: four or five tokens are worth learning, and the two PAD are not.

    If they count, a model that writes PAD after PAD has two tokens right for nothing: in rows that are mostly padding
    the loss is then near 0.
    """
    moved = _matching(subject).shift
    judge = objective(subject)
    whole, ignored, place = _padded(subject, judge)
    gradient = _gradient(judge, whole, None)[1]
    size = gradient.abs().amax(-1)
    target_at = (torch.arange(size.shape[1]) + moved).clamp(0, ignored.shape[1] - 1)
    unwanted = float((size * ignored[:, target_at].to(size)).max() / size.max().clamp(min=1e-30))
    return Evidence(
        measured=unwanted, bound=UNSEEN, unit="of the largest gradient", where=place,
        saw="the loss depends on logits at positions that are padding" if unwanted > UNSEEN else "",
    )  # fmt: skip


def _padded(subject: Subject, judge: Objective) -> tuple[Any, Tensor, str]:
    """A batch with something that must not count, where that is, and what marks it."""
    if subject.loader is not None:
        return _padded_by_loader(subject)
    mark = subject.claims.ignore_index
    pad = subject.claims.pad_id
    for value in (mark, pad):
        whole, ignored = _marked(judge, mark if value is None else value)
        if value is not None and _has_no_part(judge, whole, ignored, fit(subject).shift):
            return whole, ignored, f"targets of {value}"
    if pad is None:
        raise NotApplicable("nothing marks a target as padding: give a loader with padding, or claims.pad_id")
    return (*_marked(judge, pad), f"targets of {pad}, the declared pad_id")


def _padded_by_loader(subject: Subject) -> tuple[Any, Tensor, str]:
    pad = special_id(subject, "pad")
    pad = None if pad in (special_id(subject, "eos"), special_id(subject, "bos")) else pad
    for batch in batches(subject):
        asked = scored_ids(batch.whole)
        ignored = ~batch.counted | (asked == pad if pad is not None else False)
        some = [i for i, row in enumerate(ignored) if row.any() and not row.all()][:2]
        if some:
            what = (
                "negative targets or a mask" if (~batch.counted)[some].any() else f"targets of pad_id={pad}"
            )
            return slim(batch.whole, some, 10**9), ignored[some], f"the loader's rows with {what}"
    raise NotApplicable("there is no padding in the first batches")


def _marked(judge: Objective, mark: int) -> tuple[Any, Tensor]:
    """A batch whose targets are marked as not counted in unequal parts of its rows, and where."""
    whole = judge.drawn(1)
    targets = scored_ids(whole).clone()
    ignored = torch.zeros_like(targets, dtype=torch.bool)
    ignored[0, targets.shape[1] // 3 :] = True
    ignored[1:, -2:] = True
    targets[ignored] = mark
    if understood(whole).targets is None:
        raise NotApplicable("the batches hold no targets that could be marked as not counted")
    return replaced(whole, targets=targets), ignored


def _has_no_part(judge: Objective, whole: Any, ignored: Tensor, moved: int) -> bool:
    try:
        gradient = _gradient(judge, whole, None)[1].abs().amax(-1)
    except (IndexError, RuntimeError, ValueError):
        return False
    at = (torch.arange(gradient.shape[1]) + moved).clamp(0, ignored.shape[1] - 1)
    return bool((gradient * ignored[:, at].to(gradient)).max() <= UNSEEN * gradient.max())


def _gradient(judge: Objective, whole: Any, chosen: Any) -> tuple[Tensor, Tensor, Tensor]:
    loss, logits = judge.score(whole, chosen)
    (gradient,) = torch.autograd.grad(loss, logits, allow_unused=True)
    if gradient is None:
        raise NotApplicable("the loss is not computed from the logits that the model returns")
    return loss.detach(), gradient, logits.detach()


@law(
    "loss/averages_counted",
    statement="The loss is the mean over the tokens that count, not over all of them.",
    source="PyTorch, torch.nn.functional.cross_entropy, `reduction='mean'` with `ignore_index`",
    looks="Marks two thirds of one row and two tokens of the other as not counted, and compares with the mean.",
    tolerance="1e-3: float32 leaves 1e-5. A sum, or a mean of the rows' means, is accepted.",
    symptoms="The loss and its gradient are smaller the more padding there is: short texts teach less.",
    causes="`(loss * mask).mean()` where `.sum() / mask.sum()` was meant.",
    needs=("loss",),
)
def averages_counted(subject: Subject) -> Evidence:
    """Losses 2 and 4, and two of padding: the mean is (2 + 4) / 2 = 3.

    `(loss * mask).mean()` gives (2 + 4 + 0 + 0) / 4 = 1.5, and the step is half as long as it should be.
    """
    how, judge = _matching(subject), objective(subject)
    if how.slope != 0 and abs(how.offset) > EXACT * max(1.0, abs(how.slope)):
        raise NotApplicable("the loss holds further terms, or smooths its labels")
    whole, ignored = _working_mark(subject, judge, how)
    loss, logits = judge.score(whole, None)
    values, counted = per_token(logits.cpu(), scored_ids(whole).masked_fill(ignored, -1).cpu(), how.shift)
    row_means = (values * counted).sum(-1) / counted.sum(-1)
    sums = {"sum": values[counted].sum() * how.slope / how.terms}
    means = {"mean": values[counted].mean() * how.slope, "mean of rows": row_means.mean() * how.slope}
    legal = means if abs(how.slope - 1) <= EXACT else sums | means
    off = min(abs(float(loss) - float(value)) / abs(float(value)) for value in legal.values())
    share = float(counted.sum()) / how.terms
    return Evidence(
        measured=off, bound=EXACT, where=f"a batch of which {share:.0%} counts",
        saw=f"{float(loss):.4f}, where the mean over what counts is {float(means['mean']):.4f}" if off > EXACT else "",
    )  # fmt: skip


def _working_mark(subject: Subject, judge: Objective, how: Fit) -> tuple[Any, Tensor]:
    marks = [subject.claims.ignore_index, -1]
    if subject.loader is not None:
        marks = [int(scored_ids(b.whole).min()) for b in batches(subject)] + marks
    for mark in dict.fromkeys(mark for mark in marks if mark < 0):
        whole, ignored = _marked(judge, mark)
        if _has_no_part(judge, whole, ignored, how.shift):
            return whole, ignored
    raise NotApplicable("no negative target is ignored: claims.ignore_index says which one should be")


@law(
    "loss/cross_entropy",
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


def _matching(subject: Subject) -> Fit:
    how = fit(subject)
    if not how.matches:
        raise NotApplicable(
            "the loss is no cross-entropy of the logits that were seen: see loss/cross_entropy"
        )
    return how


def _plain(subject: Subject) -> tuple[Objective, Fit]:
    how = _matching(subject)
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
    _, seen, logits = _gradient(judge, whole, spread if judge.of_logits or judge.head is not None else None)
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
    "loss/constant_shift",
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
    loss, slope, _ = _gradient(judge, judge.drawn(0), lambda shape: 1e4 * spread(shape).sign())
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
    if at_random - on_text > 0.3:
        raise NotApplicable(
            "the weights seem trained: they predict the loader's text better than random targets"
        )
    uniform = math.log(subject.vocab_size or 1)
    return Evidence(
        measured=at_random, bound=uniform + 0.5, unit="nats", where="the weights as they are",
        saw=f"{at_random:.2f} where ln V is {uniform:.2f}: the logits are too large" if at_random > uniform + 0.5 else "",
    )  # fmt: skip
