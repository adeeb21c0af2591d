"""Laws of what the loss is asked: the next token, at what counts and nowhere else. Shapes: B rows, T tokens."""

from typing import Any

import torch
from torch import Tensor

from trueformer.laws.data_batches import (
    Batch,
    batches,
    replaced,
    slim,
    special_id,
    understood,
)
from trueformer.laws.law import Evidence, law
from trueformer.laws.loss_objective import (
    EXACT,
    Fit,
    Objective,
    fit,
    gradient_at,
    matching,
    objective,
    per_token,
    scored_ids,
)
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

NATURAL = "Shannon 1948; Vaswani et al. 2017, arXiv:1706.03762, §5"
ALLOWED = 0.1  # of the targets: what ends documents and rows
UNSEEN = 1e-6  # a share of the largest gradient; what is not counted has exactly none
RUN = 4  # tokens


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
    moved = matching(subject).shift
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
    "loss/ignores-padding",
    statement="What is marked as padding, or masked, has no part in the loss.",
    source="PyTorch, torch.nn.functional.cross_entropy, `ignore_index`",
    looks="Takes the gradient of the loss with respect to its logits at the padding of both loaders' batches.",
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
    moved = matching(subject).shift
    judge = objective(subject)
    found = [
        (_unwanted(judge, whole, ignored, moved), place) for whole, ignored, place in _padded(subject, judge)
    ]
    unwanted, place = max(found)
    return Evidence(
        measured=unwanted, bound=UNSEEN, unit="of the largest gradient", where=place,
        saw="the loss depends on logits at positions that are padding" if unwanted > UNSEEN else "",
    )  # fmt: skip


def _unwanted(judge: Objective, whole: Any, ignored: Tensor, moved: int) -> float:
    """The largest gradient at what is ignored, as a share of the largest of all."""
    gradient = gradient_at(judge, whole, None)[1]
    size = gradient.abs().amax(-1)
    target_at = (torch.arange(size.shape[1]) + moved).clamp(0, ignored.shape[1] - 1)
    return float((size * ignored[:, target_at].to(size)).max() / size.max().clamp(min=1e-30))


def _padded(subject: Subject, judge: Objective) -> list[tuple[Any, Tensor, str]]:
    """Batches with something that must not count, where that is, and what marks it."""
    if subject.loader is not None:
        return _padded_by_loaders(subject)
    mark = subject.claims.ignore_index
    pad = subject.claims.pad_id
    for value in (mark, pad):
        whole, ignored = _marked(judge, mark if value is None else value)
        if value is not None and _has_no_part(judge, whole, ignored, fit(subject).shift):
            return [(whole, ignored, f"targets of {value}")]
    if pad is None:
        raise NotApplicable("nothing marks a target as padding: give a loader with padding, or claims.pad_id")
    return [(*_marked(judge, pad), f"targets of {pad}, the declared pad_id")]


def _padded_by_loaders(subject: Subject) -> list[tuple[Any, Tensor, str]]:
    """The first rows with padding of the loader, and those of the val_loader."""
    found = []
    for part in ("loader", "val_loader"):
        for batch in batches(subject, part) if getattr(subject, part) is not None else []:
            ignored, what = _padding(subject, batch)
            some = [i for i, row in enumerate(ignored) if row.any() and not row.all()][:2]
            if some:
                found.append(
                    (slim(batch.whole, some, 10**9), ignored[some], f"the {part}'s rows with {what}")
                )
                break
    if not found:
        raise NotApplicable("there is no padding in the first batches")
    return found


def _padding(subject: Subject, batch: Batch) -> tuple[Tensor, str]:
    """Where a batch asks for nothing (B, T): marked, padding by its id, or one special token over and over."""
    asked, ends = scored_ids(batch.whole), [special_id(subject, name) for name in ("bos", "eos")]
    pad = special_id(subject, "pad")
    ignored, what = ~batch.counted, "negative targets or a mask"
    if pad is not None and pad not in ends and (asked == pad).any():
        ignored, what = ignored | (asked == pad), f"targets of pad_id={pad}"
    for mark in {end for end in ends if end is not None}:
        filled = _runs((asked == mark) & (batch.inputs == mark))
        if filled.any():
            ignored, what = ignored | filled, f"{RUN} or more targets of {mark} in a row"
    return ignored, what


def _runs(alike_BT: Tensor) -> Tensor:
    """What lies in a run of at least `RUN`: documents may be empty, but not so many of them side by side."""
    inside = torch.zeros_like(alike_BT)
    for start in range(alike_BT.shape[1] - RUN + 1):
        inside[:, start : start + RUN] |= alike_BT[:, start : start + RUN].all(1, keepdim=True)
    return inside


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
        gradient = gradient_at(judge, whole, None)[1].abs().amax(-1)
    except (IndexError, RuntimeError, ValueError):
        return False
    at = (torch.arange(gradient.shape[1]) + moved).clamp(0, ignored.shape[1] - 1)
    return bool((gradient * ignored[:, at].to(gradient)).max() <= UNSEEN * gradient.max())


@law(
    "loss/averages-counted",
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
    how, judge = matching(subject), objective(subject)
    if how.slope != 0 and abs(how.offset) > EXACT * max(1.0, abs(how.slope)):
        raise NotApplicable("the loss holds further terms, or smooths its labels")
    whole, ignored = working_mark(subject, judge, how)
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


def working_mark(subject: Subject, judge: Objective, how: Fit) -> tuple[Any, Tensor]:
    """A batch of which parts do not count, by a mark that the loss ignores, and where.

    Raises:
        NotApplicable: it ignores none.
    """
    marks = [subject.claims.ignore_index, -1]
    if subject.loader is not None:
        marks = [int(scored_ids(b.whole).min()) for b in batches(subject)] + marks
    for mark in dict.fromkeys(mark for mark in marks if mark < 0):
        whole, ignored = _marked(judge, mark)
        if _has_no_part(judge, whole, ignored, how.shift):
            return whole, ignored
    raise NotApplicable("no negative target is ignored: claims.ignore_index says which one should be")
