"""Laws of what a few updates do: one step each, everything trainable moves, the frozen stays, the loss falls."""

import gc

import torch
from torch import Tensor

from trueformer.laws.law import Evidence, law
from trueformer.laws.loop_rehearsal import Rehearsal, practice
from trueformer.laws.loss_objective import Objective
from trueformer.laws.schedule_rates import is_scheduler
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject, dtype_of

UPDATES = 3
FALL = 6  # updates on one batch
WATCHED = 5  # updates over which memory is counted


def _refuse_idle(rehearsal: Rehearsal) -> None:
    if not any(rehearsal.steps):
        raise NotApplicable("the optimizer that was given did not step: see loop/steps-once")
    if rehearsal.rates and not any(rate > 0 for rate in rehearsal.rates):
        raise NotApplicable("the rate is 0 in the first steps")


@law(
    "loop/steps-once",
    statement="One call of the training step is one step of the optimizer it was given.",
    source="the definition of an update",
    looks="Counts the steps of a copied optimizer for one batch, and for two where it takes several.",
    tolerance="None.",
    symptoms="The model never changes; or accumulation does nothing but cost time.",
    causes="Another optimizer is stepped; `step` inside the loop over micro-batches, or left out.",
    needs=("train_step", "optimizer", "loader"),
)
def steps_once(subject: Subject) -> Evidence:
    """Two micro-batches and two steps are two updates with half a batch each, not one with the whole."""
    worst, saw = 0, ""
    for count in (1, 2):
        rehearsal = Rehearsal(subject, held=True)
        try:
            rehearsal.train(practice(subject, count))
        except NotApplicable:
            if count == 1:
                raise
            continue
        odd = max(rehearsal.steps, key=lambda steps: abs(steps - 1))
        if abs(odd - 1) > worst:
            worst, saw = abs(odd - 1), f"{odd} steps for {count} micro-batch{'es' * (count > 1)}"
    return Evidence(
        measured=float(worst), bound=0.0, unit="steps too many or too few", where="train_step", saw=saw
    )


@law(
    "schedule/counts-updates",
    statement="The schedule goes one step on for each update, however many micro-batches that had.",
    source="PyTorch, torch.optim: scheduler.step() after optimizer.step()",
    looks="Runs one update of one and one of two micro-batches and counts the scheduler's steps.",
    tolerance="None; where train_step does not step the schedule it says nothing.",
    symptoms="The rate decays too early by the factor of accumulation.",
    causes="`scheduler.step()` inside the loop over micro-batches.",
    needs=("train_step", "optimizer", "loader", "schedule"),
)
def counts_updates(subject: Subject) -> Evidence:
    """A plan for 1000 updates with 4 micro-batches each, stepped once a micro-batch, is over at update 250."""
    if not is_scheduler(subject.schedule):
        raise NotApplicable("the schedule is a function of the step: nothing is counted in it")
    worst, saw, moved = 0, "", 0
    for count in (1, 2):
        rehearsal = Rehearsal(subject)
        before = rehearsal.schedule.last_epoch
        try:
            rehearsal.train(practice(subject, count))
        except NotApplicable:
            if count == 1:
                raise
            continue
        steps = rehearsal.schedule.last_epoch - before
        moved += steps
        if steps and abs(steps - 1) > worst:
            worst, saw = (
                abs(steps - 1),
                f"{steps} steps of the schedule for one update of {count} micro-batches",
            )
    if not moved:
        raise NotApplicable("train_step does not step the schedule it is offered")
    return Evidence(measured=float(worst), bound=0.0, unit="steps too many", where="train_step", saw=saw)


@law(
    "loop/moves-everything",
    statement="Every trainable parameter that gets a gradient moves within three updates.",
    source="the definition of training",
    looks="Makes three updates of a copy and counts what had a gradient and is bit for bit as before.",
    tolerance="None. In half precision small updates may not show yet: there it is enough that something moves.",
    symptoms="Some layers stay as they were at the beginning.",
    causes="Left out of the optimizer; replaced after it was built; updates lost to rounding; a group's lr of 0.",
    needs=("train_step", "optimizer", "loader"),
)
def moves_everything(subject: Subject) -> Evidence:
    """Adam's first step moves every weight that has a gradient by about the rate: 0.001 shows in any weight of 1."""
    rehearsal = Rehearsal(subject)
    before = _weights(rehearsal)
    for step, whole in enumerate(practice(subject, UPDATES)):
        rehearsal.train([whole], step)
    _refuse_idle(rehearsal)
    reached = {n for seen in rehearsal.gradients for n, g in seen.items() if g.any()}
    still = [n for n, p in rehearsal.model.named_parameters() if n in reached and torch.equal(p, before[n])]
    if dtype_of(subject.model) in (torch.bfloat16, torch.float16) and len(still) < len(reached):
        still = []
    return Evidence(
        measured=float(len(still)), bound=0.0, unit="parameters", where=still[0] if still else f"{UPDATES} updates",
        saw=f"{len(still)} parameters had gradients and did not move" if still else "",
    )  # fmt: skip


def _weights(rehearsal: Rehearsal) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in rehearsal.model.named_parameters()}


@law(
    "loop/leaves-frozen",
    statement="A frozen parameter stays as it is.",
    source="PyTorch, torch.Tensor.requires_grad",
    looks="Freezes one matrix of a copy, unless some are frozen already, and makes two updates.",
    tolerance="None: not one bit.",
    symptoms="A base model drifts under its adapters.",
    causes="requires_grad switched on for everything by the loop; decay on parameters without gradient.",
    needs=("train_step", "optimizer", "loader"),
)
def leaves_frozen(subject: Subject) -> Evidence:
    """Freezing is meant for good: `for p in model.parameters(): p.requires_grad = True` in a loop undoes it."""
    rehearsal = Rehearsal(subject)
    named = dict(rehearsal.model.named_parameters())
    frozen = [n for n, p in named.items() if not p.requires_grad]
    if not frozen:
        frozen = [n for n, p in named.items() if p.ndim == 2][-1:]
        named[frozen[0]].requires_grad_(False)
    before = _weights(rehearsal)
    try:
        for step, whole in enumerate(practice(subject, 2)):
            rehearsal.train([whole], step)
    except (ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise NotApplicable(f"it refuses to train with a parameter frozen: {error}") from error
    moved = [n for n in frozen if not torch.equal(named[n], before[n])]
    return Evidence(
        measured=float(len(moved)), bound=0.0, unit="parameters", where=moved[0] if moved else frozen[0],
        saw=f"{len(moved)} frozen parameters moved" if moved else "",
    )  # fmt: skip


@law(
    "loop/loss-falls",
    statement="Updates on one batch lower the loss of that batch.",
    source="gradient descent",
    looks="Makes six updates of a copy on one small batch, without dropout, and takes the lowest loss.",
    tolerance="It must be below the first loss.",
    symptoms="The model gets worse, or stays at chance.",
    causes="A sign; targets of another batch; gradients detached; an optimizer for another model.",
    needs=("train_step", "optimizer", "loader", "loss"),
)
def loss_falls(subject: Subject) -> Evidence:
    """Anything that learns can learn eight rows by heart. Where even that fails, more data will not help."""
    rehearsal = Rehearsal(subject)
    (whole,) = practice(subject, 1)
    judge = Objective(subject, rehearsal.model)

    def loss() -> float:
        rehearsal.model.eval()
        value = float(judge.score(whole)[0].detach())
        rehearsal.model.train()
        return value

    losses = [loss()]
    for step in range(FALL):
        rehearsal.train([whole], step)
        losses.append(loss())
    _refuse_idle(rehearsal)
    change = min(losses[1:]) - losses[0]
    return Evidence(
        measured=change, bound=-1e-7, unit="nats", where=f"{FALL} updates on one batch",
        saw=f"the loss goes from {losses[0]:.4f} to {losses[-1]:.4f}" if not change <= -1e-7 else "",
    )  # fmt: skip


@law(
    "loop/memory-is-flat",
    statement="Updates leave nothing behind: the number of tensors stays the same.",
    source="PyTorch FAQ: My model reports running out of memory",
    looks="Counts the tensors that Python knows after four updates and after five more.",
    tolerance="One in two updates. A clone of the weights that is replaced by the next one is constant, and legal.",
    symptoms="Memory grows until the run dies.",
    causes="Losses kept with their graphs, `total += loss`; a history of weights or gradients.",
    needs=("train_step", "optimizer", "loader"),
)
def memory_is_flat(subject: Subject) -> Evidence:
    """`history.append(loss)` keeps the graph of every step: all activations of the run. `loss.item()` keeps a number."""
    rehearsal = Rehearsal(subject, held=False)
    (whole,) = practice(subject, 1)

    def after(updates: int) -> int:
        for step in range(updates):
            rehearsal.train([whole], step)
            rehearsal.gradients.clear()
            rehearsal.live.clear()
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    first = after(UPDATES + 1)
    growth = (after(WATCHED) - first) / WATCHED
    return Evidence(
        measured=growth, bound=0.5, unit="tensors an update", where=f"{WATCHED} updates",
        saw=f"each update leaves {growth:.3g} tensors behind" if growth > 0.5 else "",
    )  # fmt: skip
