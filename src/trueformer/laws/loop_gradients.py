"""Laws of the gradients an optimizer gets: fresh each step, a mean when accumulated, clipped in time and as one."""

import inspect
from typing import Any

import torch

from trueformer.laws.data_batches import batches, joined, replaced, understood
from trueformer.laws.law import Evidence, law
from trueformer.laws.loop_rehearsal import (
    SMALL,
    Gradients,
    Rehearsal,
    apart,
    held_gradients,
    practice,
    silence,
)
from trueformer.laws.loss_objective import EXACT, Objective, fit, objective, scored_ids
from trueformer.laws.loss_targets import working_mark
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

NEAR = 1e-3  # of the norm: float32 in another order leaves 1e-5
LARGE = 2.0**14
LIMITS = ("max_norm", "grad_clip", "max_grad_norm", "clip_norm", "gradient_clip", "clip")


def steady(subject: Subject) -> None:
    """Refuses a step that is random in itself: nothing can be compared then."""

    def check() -> bool:
        whole = practice(subject, 1)
        one, other = (Rehearsal(subject, held=True, scale=SMALL) for _ in range(2))
        one.train(whole)
        other.train(whole, step=5)  # with other random numbers: dropout that could not be silenced shows
        if not (one.gradients and other.gradients):
            raise NotApplicable("the optimizer that was given did not step: see loop/steps-once")
        return apart(one.gradients[0], other.gradients[0])[0] <= NEAR

    if not subject.once("steady", check):
        raise NotApplicable("two steps on the same batch from the same weights give different gradients")


@law(
    "loop/zero-grad",
    statement="Each step's gradients are its own: those of the step before are gone.",
    source="PyTorch, torch.optim.Optimizer.zero_grad: gradients accumulate by default",
    looks="Steps on batch A and then B from the same weights, and compares with B alone.",
    tolerance="1e-3 of the norm: float32 leaves 1e-5.",
    symptoms="Training that is unstable and behaves as with an ever larger, ever older batch.",
    causes="No `zero_grad`, one on another optimizer, or one between backward and step.",
    needs=("train_step", "optimizer", "loader"),
)
def zero_grad(subject: Subject) -> Evidence:
    """backward adds to .grad: after three steps without zero_grad the third moves by the sum of three gradients."""
    steady(subject)
    first, second = practice(subject, 2)
    off, where = apart(held_gradients(subject, [first], [second]), held_gradients(subject, [second]))
    return Evidence(
        measured=off, bound=NEAR, unit="of the norm", where=where,
        saw="the second step's gradients hold something of the first's" if off > NEAR else "",
    )  # fmt: skip


@law(
    "loop/accumulates-the-mean",
    statement="A batch given twice has the gradient of the batch given once.",
    source="the gradient of a mean is the mean of the gradients",
    looks="Accumulates one batch with itself, small enough that nothing is clipped, and compares.",
    tolerance="1e-3 of the norm.",
    symptoms="The gradient grows with the number of micro-batches: another rate than was meant, or endless clipping.",
    causes="The loss is not divided by the number of micro-batches.",
    needs=("train_step", "optimizer", "loader"),
)
def accumulates_the_mean(subject: Subject) -> Evidence:
    """Four micro-batches with gradients 1, 1, 1, 1: backward leaves their sum, 4, where the big batch has 1."""
    steady(subject)
    (whole,) = practice(subject, 1)
    once, twice = held_gradients(subject, [whole]), held_gradients(subject, [whole, whole])
    off, where = apart(twice, once)
    ratio = _norm(twice) / max(_norm(once), 1e-30)
    return Evidence(
        measured=off, bound=NEAR, unit="of the norm", where=where,
        saw=f"two equal micro-batches give {ratio:.3g} times the gradient of one" if off > NEAR else "",
    )  # fmt: skip


def _norm(gradients: Gradients) -> float:
    return sum(float(g.double().norm()) ** 2 for g in gradients.values()) ** 0.5


@law(
    "loop/accumulates-by-tokens",
    statement="Micro-batches with unequal numbers of target tokens weigh by their tokens, as in the big batch.",
    source="Hugging Face 2024, Fixing Gradient Accumulation",
    looks="Accumulates a full and a mostly masked batch, and compares with both in one.",
    tolerance="1e-3 of the norm.",
    symptoms="Tokens of short texts count more than others; losses differ with the size of micro-batches.",
    causes="A mean of means: each micro-batch's mean divided by their number.",
    needs=("train_step", "optimizer", "loader", "loss"),
)
def accumulates_by_tokens(subject: Subject) -> Evidence:
    """90 tokens with mean loss 2 and 10 with mean loss 4: all together 2.2, the mean of means 3."""
    steady(subject)
    if fit(subject).matches and abs(fit(subject).offset) > EXACT:
        raise NotApplicable("the loss holds terms that are not a mean over tokens")
    full, thin = _full_and_thin(subject)
    off, where = apart(held_gradients(subject, [full, thin]), held_gradients(subject, [joined([full, thin])]))
    return Evidence(
        measured=off, bound=NEAR, unit="of the norm", where=where,
        saw="unequal micro-batches give another gradient than one batch of both" if off > NEAR else "",
    )  # fmt: skip


def _full_and_thin(subject: Subject) -> tuple[Any, Any]:
    """A batch as it is, and one of which little counts.

    Raises:
        NotApplicable: the loader's batches all have as many targets, or nothing that is ignored.
    """
    shape = batches(subject)[0].inputs.shape
    if len({int(b.counted.sum()) for b in batches(subject) if b.inputs.shape == shape}) == 1:
        raise NotApplicable("all batches have the same number of targets")
    marked, ignored = working_mark(subject, objective(subject), fit(subject))
    mark = int(scored_ids(marked)[ignored][0])
    full, thin = practice(subject, 2)
    targets = understood(thin).targets
    assert targets is not None
    targets = targets.clone()
    targets[:, 1 + targets.shape[1] // 4 :] = mark
    thin = replaced(thin, targets=targets)
    if not understood(thin).counted.any():
        raise NotApplicable("nothing is left to learn in what was masked")
    return full, thin


@law(
    "loop/divides-by-targets",
    statement="A step weighs its batch as the loss does: by the tokens that count.",
    source="PyTorch, torch.nn.functional.cross_entropy, `reduction='mean'` with `ignore_index`",
    looks="Compares the gradient at the step with that of the loss, for a batch as it is and for a mostly masked one.",
    tolerance="10 % from one to the other: further terms may be in a step. A constant factor is accepted.",
    symptoms="Steps are shorter the more padding there is: short texts teach less.",
    causes="The sum of the losses is divided by all positions, padding and masked ones too.",
    needs=("train_step", "optimizer", "loader", "loss"),
)
def divides_by_targets(subject: Subject) -> Evidence:
    """Losses 2 and 4, and two of padding: the mean is 6 / 2 = 3. A loop that divides by `targets.numel()` has 1.5."""
    steady(subject)
    full, thin = _full_and_thin(subject)
    usual, masked = (
        _norm(held_gradients(subject, [whole])) / max(_norm(_of_the_loss(subject, whole)), 1e-30)
        for whole in (full, thin)
    )
    off = abs(masked / usual - 1)
    return Evidence(
        measured=off, bound=0.1, where="a mostly masked batch",
        saw=f"its gradient is {masked / usual:.3g} times as large as the loss says" if off > 0.1 else "",
    )  # fmt: skip


def _of_the_loss(subject: Subject, whole: Any) -> Gradients:
    """The gradients of the owner's loss, of the same weights in the same mode as in a rehearsal."""
    model = subject.copied().float().train()
    silence(model)
    loss, _ = Objective(subject, model).score(whole)
    moved = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(moved.values()), allow_unused=True)
    return {name: grad for name, grad in zip(moved, found, strict=True) if grad is not None}


def _loud(subject: Subject) -> Rehearsal:
    """A step with gradients that any clipping would cut."""
    rehearsal = Rehearsal(subject, held=True, scale=LARGE)
    rehearsal.train(practice(subject, 1))
    if not rehearsal.gradients:
        raise NotApplicable("the optimizer that was given did not step: see loop/steps-once")
    return rehearsal


@law(
    "loop/clips-before-step",
    statement="Gradients are clipped before the optimizer sees them.",
    source="Pascanu et al. 2013, arXiv:1211.5063, algorithm 1",
    looks="Makes gradients 16,384 times as large and compares them at the step with the same tensors after it.",
    tolerance="1 %.",
    symptoms="Spikes go through, although clipping is switched on.",
    causes="`clip_grad_norm_` after `optimizer.step()`.",
    needs=("train_step", "optimizer", "loader"),
)
def clips_before_step(subject: Subject) -> Evidence:
    """Norm 50, limit 1: the step should get a fiftieth. Clipped afterwards, it is a gradient that nobody uses."""
    rehearsal = _loud(subject)
    at_step = sum(float(kept.double().norm()) ** 2 for _, kept in rehearsal.live[0]) ** 0.5
    after = sum(float(live.detach().double().norm()) ** 2 for live, _ in rehearsal.live[0]) ** 0.5
    if not after:
        after = at_step  # set to zero in place: what was before that cannot be seen
    ratio = at_step / after
    return Evidence(
        measured=ratio, bound=1.01, unit="times", where="gradients at the step over after it",
        saw=f"gradients are cut to a {ratio:.3g}th after the step" if ratio > 1.01 else "",
    )  # fmt: skip


@law(
    "loop/clips-globally",
    statement="Clipping scales all gradients by one number: their direction stays.",
    source="Pascanu et al. 2013, arXiv:1211.5063, algorithm 1",
    looks="Compares the direction of clipped gradients with that of gradients too small to clip.",
    tolerance="1e-3 of 1 - cosine.",
    symptoms="Noisy steps: layers with small gradients count as much as those with large ones.",
    causes="Each parameter clipped by itself, or each entry.",
    needs=("train_step", "optimizer", "loader"),
)
def clips_globally(subject: Subject) -> Evidence:
    """Layers with norms 8 and 0.6, limit 1: together 8.02, so 0.997 and 0.075. Each by itself: 1 and 0.6."""
    steady(subject)
    quiet = held_gradients(subject, practice(subject, 1))
    loud = _loud(subject).gradients[0]
    if _norm(loud) >= 0.99 * _norm(quiet) * LARGE / SMALL:
        raise NotApplicable("nothing is clipped")
    dot = sum(float((loud[n].double() * quiet[n].double()).sum()) for n in quiet if n in loud)
    off = 1 - dot / (_norm(loud) * _norm(quiet))
    ratios = {n: float(loud[n].norm() / quiet[n].norm()) for n in quiet if n in loud and quiet[n].any()}
    where = max(ratios, key=ratios.__getitem__)
    return Evidence(
        measured=off, bound=1e-3, unit="1 - cosine", where=where,
        saw="clipping turns the gradient: parts of it are cut more than others" if not off <= 1e-3 else "",
    )  # fmt: skip


@law(
    "loop/clips-only-down",
    statement="Clipping leaves gradients that are small enough as they are.",
    source="Pascanu et al. 2013, arXiv:1211.5063, algorithm 1: if the norm is above the threshold",
    looks="Makes tiny gradients four times as large and sees whether what the optimizer gets is, too.",
    tolerance="1 %.",
    symptoms="The loss never settles: the last steps are as long as the first.",
    causes="Gradients multiplied by limit / norm with no upper bound of 1.",
    needs=("train_step", "optimizer", "loader"),
)
def clips_only_down(subject: Subject) -> Evidence:
    """Limit 1: a norm of 4 is divided by 4; a norm of 0.01 stays. Without `clamp(max=1)` it is multiplied by 100."""
    steady(subject)
    whole = practice(subject, 1)
    small, smaller = held_gradients(subject, whole), held_gradients(subject, whole, scale=SMALL / 4)
    ratio = _norm(small) / max(_norm(smaller), 1e-30)
    off = abs(ratio / 4 - 1)
    return Evidence(
        measured=off, bound=0.01, where="gradients too small to clip",
        saw=f"gradients four times as large arrive {ratio:.3g} times as large" if off > 0.01 else "",
    )  # fmt: skip


@law(
    "loop/clips-to-its-limit",
    statement="The norm that the optimizer gets is at most the one that the training step says.",
    source="PyTorch, torch.nn.utils.clip_grad_norm_",
    looks="Reads the default of max_norm, grad_clip or the like, and makes gradients 16,384 times as large.",
    tolerance="1 %.",
    symptoms="Spikes go through, although clipping is switched on.",
    causes="Clipped copies of the gradients, another model's, or nothing.",
    needs=("train_step", "optimizer", "loader"),
)
def clips_to_its_limit(subject: Subject) -> Evidence:
    """`grad.mul(factor)` gives a clipped copy; `grad.mul_(factor)` clips."""
    parameters = inspect.signature(subject.train_step).parameters  # type: ignore[arg-type]
    limits = {n: parameters[n].default for n in LIMITS if n in parameters}
    limit = next((float(v) for v in limits.values() if isinstance(v, int | float) and v > 0), None)
    if limit is None:
        raise NotApplicable(f"train_step has no default for any of {', '.join(LIMITS)}")
    norm = _norm(_loud(subject).gradients[0])
    return Evidence(
        measured=norm, bound=1.01 * limit, where="gradients at the step",
        saw=f"a norm of {norm:.3g} reaches the optimizer, the limit is {limit:g}" if norm > 1.01 * limit else "",
    )  # fmt: skip
