"""Laws of modes: training trains in training mode, evaluation evaluates, and each leaves the other's as it was."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trueformer.laws.data_batches import batches, replaced, slim, understood
from trueformer.laws.law import Evidence, law
from trueformer.laws.loop_rehearsal import LOSSES, MANY, MODELS, ROWS, TOKENS, Rehearsal, practice, silence
from trueformer.subject.errors import NotApplicable
from trueformer.subject.interface import call_by_name
from trueformer.subject.subject import Subject

LOADERS = ("loader", "val_loader", "dataloader", "data_loader", "valid_loader", "dl", *MANY)


@law(
    "loop/trains-in-train-mode",
    statement="An update runs the model in training mode, and leaves it there.",
    source="PyTorch, torch.nn.Module.train",
    looks="Makes an update of a copy in training mode and notes the mode of every pass with gradients, and after.",
    tolerance="None.",
    symptoms="Dropout is off after the first evaluation: the model overfits.",
    causes="`model.eval()` with no `model.train()` after it.",
    needs=("train_step", "optimizer", "loader"),
)
def trains_in_train_mode(subject: Subject) -> Evidence:
    """Evaluation at step 500 leaves the model in evaluation mode: from there on, dropout of 0.1 is 0."""
    rehearsal = Rehearsal(subject)
    rehearsal.train(practice(subject, 1))
    passes = [training for training, with_gradients in rehearsal.modes if with_gradients]
    wrong = passes.count(False) + (not rehearsal.model.training)
    saw = (
        "a pass with gradients ran in evaluation mode" if not all(passes) else "it is left in evaluation mode"
    )
    return Evidence(
        measured=float(wrong), bound=0.0, unit="times", where="train_step", saw=saw if wrong else ""
    )


class _Evaluation:
    """A copy of the model under the owner's `evaluate`."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.model = subject.copied().train()
        silence(self.model)
        self.passes: list[tuple[bool, bool]] = []
        for module in self.model.modules():
            module.register_forward_pre_hook(
                lambda module, _: self.passes.append((module.training, torch.is_grad_enabled()))
            )

    def __call__(self, wholes: list[Any]) -> float | None:
        """The loss that it gives for these batches, if it gives one."""
        offered = {
            **dict.fromkeys(MODELS, self.model),
            **dict.fromkeys(LOADERS, wholes),
            **dict.fromkeys(LOSSES, self.subject.loss),
        }
        try:
            with torch.enable_grad():
                result = call_by_name(self.subject.evaluate, "model", "loader", **offered)
        except ValueError as error:
            if "asks for" not in str(error):
                raise
            raise NotApplicable(f"{error}: give evaluate(model, loader)") from error
        if not self.passes:
            raise NotApplicable(
                "evaluate did not run the model it was given: expected evaluate(model, loader)"
            )
        return _number(result)


def _number(result: Any) -> float | None:
    if isinstance(result, Mapping):
        named = [v for k, v in result.items() if "loss" in str(k)]
        return _number((named or list(result.values()) or [None])[0])
    if isinstance(result, tuple | list):
        return _number(result[0]) if result else None
    if isinstance(result, Tensor):
        return float(result) if result.numel() == 1 else None
    return float(result) if isinstance(result, int | float) else None


def _held_out(subject: Subject) -> list[Any]:
    part = "val_loader" if subject.val_loader is not None else "loader"
    if subject.loader is None and subject.val_loader is None:
        raise NotApplicable("there is nothing to evaluate on: give val_loader= or loader=")
    small = [slim(b.whole, ROWS, TOKENS) for b in batches(subject, part)]
    small = [whole for whole in small if understood(whole).counted.any()]
    if not small:
        raise NotApplicable("no target counts in the first batches")
    return small


@law(
    "loop/evaluates-in-eval-mode",
    statement="Evaluation runs the model in evaluation mode.",
    source="PyTorch, torch.nn.Module.eval",
    looks="Evaluates a copy that is in training mode and notes the mode of every pass.",
    tolerance="None.",
    symptoms="Validation is random, and worse than it should be.",
    causes="`model.eval()` forgotten.",
    needs=("evaluate",),
)
def evaluates_in_eval_mode(subject: Subject) -> Evidence:
    """With dropout of 0.1 on, the same weights get another validation loss each time."""
    evaluation = _Evaluation(subject)
    evaluation(_held_out(subject)[:2])
    wrong = sum(training for training, _ in evaluation.passes)
    return Evidence(
        measured=float(wrong), bound=0.0, unit="modules", where="evaluate",
        saw=f"{wrong} of {len(evaluation.passes)} modules ran in training mode" if wrong else "",
    )  # fmt: skip


@law(
    "loop/returns-to-train-mode",
    statement="After evaluation the model is back in training mode.",
    source="PyTorch, torch.nn.Module.train",
    looks="Evaluates a copy that is in training mode, and looks at every module after it.",
    tolerance="None, unless train_step sets the mode itself: then it is said in its own law.",
    symptoms="No dropout after the first evaluation.",
    causes="`model.train()` forgotten after `model.eval()`.",
    needs=("evaluate",),
)
def returns_to_train_mode(subject: Subject) -> Evidence:
    """The mode is a flag on each module: eval() clears them all, and nothing but train() sets them again."""
    if subject.train_step is not None and subject.optimizer is not None and subject.loader is not None:
        rehearsal = Rehearsal(subject, held=True)
        rehearsal.model.eval()
        rehearsal.train(practice(subject, 1))
        if rehearsal.modes and rehearsal.modes[0][0]:
            raise NotApplicable("train_step sets training mode itself")
    evaluation = _Evaluation(subject)
    evaluation(_held_out(subject)[:2])
    left = [name or "the model" for name, m in evaluation.model.named_modules() if not m.training]
    return Evidence(
        measured=float(len(left)), bound=0.0, unit="modules", where=left[0] if left else "evaluate",
        saw=f"{len(left)} modules are left in evaluation mode" if left else "",
    )  # fmt: skip


@law(
    "loop/evaluates-without-gradients",
    statement="Evaluation keeps no graph for gradients.",
    source="PyTorch, torch.no_grad",
    looks="Notes whether gradients are enabled in each pass of an evaluation.",
    tolerance="None. Numbers are the same either way: it costs memory and time.",
    symptoms="Evaluation runs out of memory where training does not.",
    causes="No `torch.no_grad()` or `torch.inference_mode()`.",
    needs=("evaluate",),
    advice=True,
)
def evaluates_without_gradients(subject: Subject) -> Evidence:
    """`total += loss` with gradients enabled keeps the activations of every validation batch."""
    evaluation = _Evaluation(subject)
    evaluation(_held_out(subject)[:2])
    wrong = sum(enabled for _, enabled in evaluation.passes)
    return Evidence(
        measured=float(wrong), bound=0.0, unit="modules", where="evaluate",
        saw=f"{wrong} of {len(evaluation.passes)} modules ran with gradients" if wrong else "",
    )  # fmt: skip


@law(
    "loop/averages-metrics",
    statement="A validation loss is the mean over all batches, not that of one of them.",
    source="the definition of a mean",
    looks="Evaluates two batches each alone and both together.",
    tolerance="1 % of the difference between the two: the mean lies half-way.",
    symptoms="A validation curve as noisy as one batch.",
    causes="The variable overwritten in the loop; a `return` inside it.",
    needs=("evaluate",),
)
def averages_metrics(subject: Subject) -> Evidence:
    """Losses 2, 3, 4: the mean is 3. What a loop leaves in its variable is 4; what it returns at once is 2."""
    whole = _held_out(subject)[0]
    batch = understood(whole)
    ids = subject.ids(*batch.inputs.shape, seed=5)
    targets = (
        None if batch.targets is None else ids.roll(1).masked_fill(~batch.counted, int(batch.targets.min()))
    )
    other = replaced(whole, ids, targets)
    evaluation = _Evaluation(subject)
    first, second, both = (evaluation(wholes) for wholes in ([whole], [other], [whole, other]))
    if first is None or second is None or both is None or not math.isfinite(first + second):
        raise NotApplicable("evaluate returns no number")
    if abs(first - second) < 1e-5 * abs(first):
        raise NotApplicable("two different batches have the same loss")
    near = min(abs(both - first), abs(both - second)) / abs(first - second)
    saw = f"both together give {both:.4f}, alone they give {first:.4f} and {second:.4f}"
    return Evidence(
        measured=near, bound=0.01, at_least=True, unit="of their difference", where="evaluate",
        saw=saw if near < 0.01 else "",
    )  # fmt: skip
