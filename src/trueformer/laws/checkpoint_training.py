"""Checkpoints to go on from: optimizer, schedule, step, random numbers, place in the data. Part of `checkpoint.py`."""

import math
from typing import Any

import torch
from torch import Tensor

from trueformer.laws.checkpoint_files import (
    EXACT,
    NEEDS,
    STEP,
    different,
    folder,
    load,
    new_visit,
    save,
    takes,
    tensors,
    training,
    visit,
)
from trueformer.laws.counted import none_of
from trueformer.laws.data_batches import reader, same, take
from trueformer.laws.draws import draws_random_numbers
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.kept import equal, same_bits
from trueformer.subject.subject import Subject


@law(
    "checkpoint/optimizer-follows",
    statement="After loading, the optimizer holds the parameters of the model that was loaded.",
    source="torch.optim: parameters are held by identity",
    looks="Loads into a copy, and looks for each of the optimizer's parameters in the model.",
    tolerance="0 foreign parameters.",
    symptoms="A resumed run never learns: the loss stays where it was.",
    causes="load builds a new model, or new parameters (assign=True), after the optimizer was made.",
    needs=(*NEEDS, "optimizer"),
)
def optimizer_follows(subject: Subject) -> Evidence:
    """`model.load_state_dict(state, assign=True)` replaces every parameter; the optimizer goes on updating the old."""
    assert subject.load is not None
    seen = visit(subject)
    if not takes(subject.load, "model"):
        raise NotApplicable("load makes a model of its own, so the optimizer is made after it")
    own = {id(parameter) for parameter in seen.after.model.parameters()}
    held = [p for group in seen.after.optimizer.param_groups for p in group["params"]]
    strange = [f"parameter {i} of the optimizer" for i, p in enumerate(held) if id(p) not in own]
    before = {id(p) for p in seen.before.model.parameters()}
    if any(id(p) not in before for group in seen.before.optimizer.param_groups for p in group["params"]):
        raise NotApplicable("the optimizer held foreign parameters before, which another law speaks of")
    return tensors(strange, "the optimizer updates tensors that are no longer the model's")


def _both_take(subject: Subject, part: str) -> None:
    for function in (subject.save, subject.load):
        assert function is not None
        if not takes(function, part):
            name = getattr(function, "__name__", "it")
            raise NotApplicable(f"{name} takes no {part}: it is not for going on with training")


@law(
    "checkpoint/moments",
    statement="The optimizer's state is the same to the last bit after loading.",
    source="Kingma & Ba 2015, arXiv:1412.6980: the moments are part of the iteration",
    looks="Makes two updates, saves, loads into an optimizer without a state, and compares.",
    tolerance=EXACT,
    symptoms="The loss jumps at each resumption and takes hundreds of steps to come back.",
    causes="The optimizer is not saved, or saved and not loaded; moments are rounded.",
    needs=(*NEEDS, "optimizer"),
)
def moments(subject: Subject) -> Evidence:
    """Without its second moment, Adam's first step after resuming is lr for every weight, however small its gradient."""
    _both_take(subject, "optimizer")
    seen = visit(subject)
    then, now = (_numbers_in(one.optimizer.state_dict()) for one in (seen.before, seen.after))
    wrong = [name for name, value in then.items() if not _kept(value, now.get(name))]
    return tensors(wrong, "a number of the optimizer's state is not as it was saved")


def _numbers_in(state: Any, name: str = "") -> dict[str, Any]:
    """The tensors and numbers of a nested state, by their path; options such as lr, which may be new, left out."""
    if isinstance(state, dict):
        pairs = [(str(key), part) for key, part in state.items() if key != "param_groups"]
    elif isinstance(state, list | tuple):
        pairs = [(str(i), part) for i, part in enumerate(state)]
    else:
        return {name: state} if isinstance(state, int | float | Tensor) else {}
    found: dict[str, Any] = {}
    for key, part in pairs:
        found |= _numbers_in(part, f"{name}.{key}".strip("."))
    return found


def _kept(value: Any, other: Any) -> bool:
    """Whether a number of the state is the same; a step may be a tensor or a number."""
    if isinstance(value, Tensor) and isinstance(other, Tensor) and value.numel() > 1:
        return same_bits(value, other)
    if other is None or (isinstance(other, Tensor) and other.numel() != 1):
        return False
    return float(value) == float(other) or (math.isnan(float(value)) and math.isnan(float(other)))


@law(
    "checkpoint/schedule",
    statement="The schedule stands after loading where it stood.",
    source="torch.optim.lr_scheduler: state_dict",
    looks="Makes two updates, saves, loads into a new schedule, and compares its state.",
    tolerance="0 differences.",
    symptoms="Every resumed run warms up again.",
    causes="The scheduler's state is not saved, or not loaded.",
    needs=(*NEEDS, "optimizer", "schedule"),
)
def schedule(subject: Subject) -> Evidence:
    """A scheduler made anew counts from 0: at step 10,000 the learning rate is that of the first one."""
    if not hasattr(subject.schedule, "state_dict"):
        raise NotApplicable("the schedule is a function of the step and has no state")
    _both_take(subject, "schedule")
    seen = visit(subject)
    then, now = seen.before.schedule.state_dict(), seen.after.schedule.state_dict()
    wrong = [
        str(name) for name, value in then.items() if not callable(value) and not equal(value, now.get(name))
    ]
    said = f"{wrong[0]} was {then[wrong[0]]}, and is {now.get(wrong[0])}" if wrong else ""
    return none_of(len(wrong), unit="entries", where=wrong[0] if wrong else "", saw=said)


@law(
    "checkpoint/step",
    statement="The step that was saved is the step that is loaded.",
    source="R18 of the catalogue of defects",
    looks="Saves at step 7, and looks for 7, or 8 as the next one, in what load gives back.",
    tolerance="Exactly 7 or 8.",
    symptoms="A resumed run counts from 0: schedule, logs and the next checkpoint's name are wrong.",
    causes="The step is not saved, or a default is given back.",
    needs=NEEDS,
)
def step(subject: Subject) -> Evidence:
    """`return state.get("steps", 0)` where it was saved as "step" begins every run anew."""
    assert subject.save is not None
    if not takes(subject.save, "step"):
        raise NotApplicable("save takes no step")
    found = _numbers(visit(subject).result)
    if not found:
        raise NotApplicable("load gives no number back")
    wrong = not {STEP, STEP + 1} & set(found)
    return none_of(int(wrong), saw=f"saved at step {STEP}, loaded {found[:5]}")


def _numbers(result: Any) -> list[int]:
    """The whole numbers in what load gave back."""
    if isinstance(result, dict):
        result = [value for value in result.values() if isinstance(value, int)]
    parts = list(result) if isinstance(result, tuple | list) else [result]
    return [part for part in parts if isinstance(part, int) and not isinstance(part, bool)]


@law(
    "checkpoint/random-numbers",
    statement="Random numbers whose state is saved go on after loading where they were.",
    source="PyTorch notes on reproducibility",
    looks="Saves, lets the generator go elsewhere, loads, and compares the generator's state.",
    tolerance="0: the state is a few thousand bytes.",
    symptoms="A resumed run differs from one that never stopped, by its dropout.",
    causes="torch.set_rng_state() is not called, or is followed by something that draws.",
    needs=(*NEEDS, "optimizer"),
)
def random_numbers(subject: Subject) -> Evidence:
    """With dropout, a run that is stopped and resumed draws other masks, so nothing can be compared bit for bit."""
    _both_take(subject, "optimizer")
    if not draws_random_numbers(subject):
        raise NotApplicable("the model has no dropout: training draws no random numbers")
    seen = visit(subject)
    if not seen.random_saved:
        raise NotApplicable("the checkpoint does not hold the state of torch's random numbers")
    moved = not torch.equal(seen.random_then, seen.random_now)
    return none_of(int(moved), saw="the random numbers' state is not that of the save")


@law(
    "checkpoint/place-in-the-data",
    statement="The loader goes on after loading where it was at the save.",
    source="R18 of the catalogue of defects; torchdata, StatefulDataLoader",
    looks="Reads three batches, saves, loads with a fresh loader, and compares its first batch with the next one.",
    tolerance="0: the batch that would have come, or the first of the epoch that would have.",
    symptoms="After each restart the first part of the data is learned again, and the last part never.",
    causes="The loader's state is not saved, or saved and not loaded.",
    needs=(*NEEDS, "optimizer", "loader"),
)
def place_in_the_data(subject: Subject) -> Evidence:
    """Stopped every 1000 batches and begun at batch 0 each time, a run never meets batch 1001."""
    _both_take(subject, "loader")
    before, after = training(subject), training(subject, perturbed=True)
    before.loader, after.loader = reader(subject.loader), reader(subject.loader)
    going = iter(before.loader)
    if len(take(going, 3)) < 3:
        raise NotApplicable("an epoch of fewer than four batches")
    with folder() as path:
        lies = save(subject, before, path, whole=True)
        load(subject, after, lies, whole=True)
    whose = [after.loader, going] + [reader(before.loader)] * (going is not before.loader)
    chance, read = torch.get_rng_state(), []
    for one in whose:
        torch.set_rng_state(chance)
        read.append(take(one, 1))
    found, *wanted = read
    wrong = not any(len(found) == len(one) and all(map(same, found, one)) for one in wanted)
    return none_of(int(wrong), unit="batches", saw="another batch comes after loading than would have come")


@law(
    "checkpoint/goes-on",
    statement="Training that is saved, loaded and continued equals training that never stopped.",
    source="R18 of the catalogue of defects",
    looks="Makes two updates, saves, loads elsewhere; then three more on both sides, with equal gradients.",
    tolerance=EXACT,
    symptoms="Two runs of one configuration differ by how often they were stopped.",
    causes="Moments, schedule, step or learning rate are not restored; the optimizer holds other parameters.",
    needs=(*NEEDS, "optimizer"),
)
def goes_on(subject: Subject) -> Evidence:
    """Two steps and three more are five steps. If not, something that training needs is not in the file."""
    _both_take(subject, "optimizer")
    if hasattr(subject.schedule, "state_dict"):
        _both_take(subject, "schedule")
    seen = new_visit(subject)
    seen.before.go_on(3)
    seen.after.go_on(3)
    return tensors(different(seen.before.model, seen.after.model), "after three more steps a tensor differs")
