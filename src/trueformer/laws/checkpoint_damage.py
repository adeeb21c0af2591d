"""Checkpoints that are damaged, of another model, or cut off in the middle. Part of `checkpoint.py`."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from trueformer.laws.checkpoint_files import (
    NEEDS,
    different,
    files,
    folder,
    load,
    loads_into,
    perturb,
    save,
    training,
)
from trueformer.laws.counted import none_of
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

ADDED = "weight_that_no_file_has"


def refused(subject: Subject, change: Callable[[nn.Module], str]) -> Evidence:
    """Whether a checkpoint is refused by a copy that was changed since; `change` says what it did."""
    if not loads_into(subject):
        raise NotApplicable("load makes the model from the file, so that it cannot differ")
    one, other = training(subject), training(subject)
    said = change(other.model)
    with folder() as path:
        lies = save(subject, one, path)
        raised = raises(load, subject, other, lies)
    return none_of(int(not raised), where=said, saw="the checkpoint was loaded without an error")


def raises(act: Callable[..., object], *parts: object) -> bool:
    """Whether a save or a load fails, in whatever words; that it cannot be tried is passed on."""
    try:
        act(*parts)
    except NotApplicable:
        raise
    except Exception:  # noqa: BLE001 - a refusal is what is asked for; a full disk shows as the format will
        return True
    return False


def _some_weight(model: nn.Module) -> tuple[nn.Module, str, str]:
    """The last parameter that has one name only: its module, its name there, and its whole name."""
    single = dict(model.named_parameters(remove_duplicate=False))
    alone = [name for name, p in single.items() if sum(p is other for other in single.values()) == 1]
    if not alone:
        raise NotApplicable("every parameter has several names")
    path, _, name = alone[-1].rpartition(".")
    return model.get_submodule(path), name, alone[-1]


@law(
    "checkpoint/missing-refused",
    statement="A checkpoint that lacks a weight of the model is refused.",
    source="T10 of the catalogue of defects; torch: load_state_dict(strict=True)",
    looks="Adds a parameter to a copy, and loads a checkpoint that was made without it.",
    tolerance="It must raise.",
    symptoms="A layer stays at its random start, and nobody is told.",
    causes="strict=False; a loop over the file's keys.",
    needs=NEEDS,
)
def missing_refused(subject: Subject) -> Evidence:
    """`model.load_state_dict(state, strict=False)` with every key misspelt loads nothing at all, and says nothing."""

    def change(model: nn.Module) -> str:
        model.register_parameter(ADDED, nn.Parameter(torch.zeros(3)))
        return "a parameter that the file has not"

    return refused(subject, change)


@law(
    "checkpoint/unexpected-refused",
    statement="A checkpoint that has a weight which the model has not is refused.",
    source="T10 of the catalogue of defects; torch: load_state_dict(strict=True)",
    looks="Takes a parameter out of a copy, and loads a checkpoint that was made with it.",
    tolerance="It must raise.",
    symptoms="A model built with fewer layers than were trained loads, and is bad.",
    causes="strict=False; a loop over the model's keys.",
    needs=NEEDS,
)
def unexpected_refused(subject: Subject) -> Evidence:
    """A 12-layer checkpoint in a 6-layer model: half of what was learnt is left out."""

    def change(model: nn.Module) -> str:
        module, name, whole = _some_weight(model)
        module._parameters[name] = None
        return f"{whole} was taken out of the model"

    return refused(subject, change)


@law(
    "checkpoint/state-refused",
    statement="The model itself refuses a state that lacks a weight, or brings one that it has not.",
    source="T10 of the catalogue of defects; torch: load_state_dict(strict=True)",
    looks="Gives a copy its own state without one weight, then with one more, by load_state_dict.",
    tolerance="It must raise, both times.",
    symptoms="A layer stays at its random start, whoever loads it, and nobody is told.",
    causes="A load_state_dict of the model's own that hands strict=False on.",
    needs=("logits",),
)
def state_refused(subject: Subject) -> Evidence:
    """`super().load_state_dict(state, False)` makes every caller's strict=True a wish that nobody hears."""
    model = subject.copied()
    state = model.state_dict()
    _, _, name = _some_weight(model)
    if name not in state:
        raise NotApplicable("the state has other names than the parameters")
    states = {
        f"without {name}": {key: value for key, value in state.items() if key != name},
        "with one more weight": state | {ADDED: torch.zeros(3)},
    }
    taken = [said for said, given in states.items() if not raises(model.load_state_dict, given)]
    return none_of(len(taken), where=" ".join(taken[:1]), saw="the state was loaded without an error")


@law(
    "checkpoint/shapes-refused",
    statement="A checkpoint with a weight of another shape is refused.",
    source="T10 of the catalogue of defects",
    looks="Makes one parameter of a copy one row longer, and loads a checkpoint that was made before.",
    tolerance="It must raise.",
    symptoms="A resized layer stays random, or is broadcast from a single row.",
    causes="Keys filtered by shape; copy_ that broadcasts.",
    needs=NEEDS,
)
def shapes_refused(subject: Subject) -> Evidence:
    """`{k: v for k, v in state.items() if v.shape == own[k].shape}` leaves the rest as it was made."""

    def change(model: nn.Module) -> str:
        module, name, whole = _some_weight(model)
        weight = module._parameters[name]
        assert weight is not None
        module._parameters[name] = nn.Parameter(torch.cat([weight.detach(), weight.detach()[:1]]))
        return f"{whole} has one row more than the file"

    return refused(subject, change)


def _truncated(subject: Subject) -> tuple[bool, list[str]]:
    """Whether a file cut to nine tenths is refused, and which tensors of the model changed."""

    def measure() -> tuple[bool, list[str]]:
        one, other = training(subject, perturbed=True), training(subject)
        with folder() as path:
            lies = save(subject, one, path)
            largest = files(path)[0]
            size = largest.stat().st_size
            with largest.open("r+b") as file:
                file.truncate(size * 9 // 10)
            raised = raises(load, subject, other, lies)
        return raised, different(other.model, subject.model)

    return subject.once("truncated checkpoint", measure)


@law(
    "checkpoint/truncated-refused",
    statement="A checkpoint that was cut off is refused.",
    source="T9, T12 of the catalogue of defects",
    looks="Cuts the largest file to nine tenths, and loads.",
    tolerance="It must raise.",
    symptoms="After a full disk, training starts from zero, or from half of the weights.",
    causes="except Exception around loading; a format of one's own without lengths.",
    needs=NEEDS,
)
def truncated_refused(subject: Subject) -> Evidence:
    """`except Exception: return 0` takes a damaged checkpoint for none, and trains anew over what could be mended."""
    raised, _ = _truncated(subject)
    return none_of(int(not raised), saw="a file cut to nine tenths was loaded without an error")


@law(
    "checkpoint/half-loaded",
    statement="A load that fails leaves the model as it was.",
    source="T9 of the catalogue of defects",
    looks="Cuts the largest file to nine tenths, loads, and compares the model's weights with before.",
    tolerance="0 tensors may have changed.",
    symptoms="A run goes on with weights of two models.",
    causes="Tensors are copied one by one while the file is being read.",
    needs=NEEDS,
)
def half_loaded(subject: Subject) -> Evidence:
    """Read everything, check everything, then copy: the first two may fail and nothing has happened."""
    raised, changed = _truncated(subject)
    if not raised:
        raise NotApplicable("the load did not fail")
    where = changed[0] if changed else ""
    return none_of(len(changed), unit="tensors", where=where, saw="a tensor changed although the load failed")


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Writing a file beyond this size fails, as on a full disk.

    Raises:
        NotApplicable: this system cannot do it, or would end the process.
    """
    try:
        import resource
    except ImportError as error:
        raise NotApplicable("this system has no limit on the size of files") from error
    if signal.getsignal(signal.SIGXFSZ) is not signal.SIG_IGN:
        raise NotApplicable("this process would be ended by writing too much")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _interrupted(subject: Subject) -> tuple[bool, str]:
    """Whether a save that meets a full disk raises, and what can be loaded then: `old`, `new`, or what went wrong."""

    def measure() -> tuple[bool, str]:
        one, old, other = training(subject), training(subject), training(subject)
        with folder() as path:
            lies = save(subject, one, path)
            limit = max(512, files(path)[0].stat().st_size // 2)
            perturb(one.model)
            with files_up_to(limit):
                raised = raises(save, subject, one, path)
            perturb(other.model)
            perturb(other.model)
            try:
                load(subject, other, lies)
            except Exception as error:  # noqa: BLE001 - the old checkpoint is gone, however that shows
                return raised, f"the old checkpoint cannot be loaded any more ({type(error).__name__})"
        if not different(other.model, one.model):
            return raised, "new"
        return raised, "old" if not different(
            other.model, old.model
        ) else "what is loaded is neither old nor new"

    return subject.once("interrupted checkpoint", measure)


@law(
    "checkpoint/atomic",
    statement="A save that is cut off leaves the checkpoint that was there.",
    source="T8 of the catalogue of defects; POSIX rename()",
    looks="Saves, then again at the same place with a limit on the size of files, and loads.",
    tolerance="The old weights, or the new ones, to the last bit.",
    symptoms="The disk fills at night, and the only checkpoint is half a file.",
    causes="Writing in place. Write a file beside it, flush, fsync, and os.replace.",
    needs=NEEDS,
)
def atomic(subject: Subject) -> Evidence:
    """`torch.save(state, "last.pt")` first empties last.pt. From then until it is written, there is no checkpoint."""
    _, loads = _interrupted(subject)
    return none_of(int(loads not in ("old", "new")), saw=loads)


@law(
    "checkpoint/failure-told",
    statement="A save that could not be finished raises.",
    source="T9, T12 of the catalogue of defects",
    looks="Saves again with a limit on the size of files, and sees whether an error comes.",
    tolerance="It must raise where the new weights are not in the file.",
    symptoms="A run of a week whose last checkpoint is of Monday.",
    causes="except Exception around saving; an error in a thread that nobody joins.",
    needs=NEEDS,
)
def failure_told(subject: Subject) -> Evidence:
    """`except OSError: print("could not save")` is one line among thousands of a log that nobody reads."""
    raised, loads = _interrupted(subject)
    return none_of(
        int(not raised and loads != "new"), saw="the disk was full, and save returned as if it had saved"
    )
