"""Somebody's save and load, tried on copies in a temporary folder: what the laws of checkpoints share.

What a function takes is read from the names of its parameters. Part of `checkpoint.py`.
"""

import base64
import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trueformer.laws.counted import none_of
from trueformer.laws.data_batches import reader
from trueformer.laws.law import Evidence
from trueformer.subject.errors import NotApplicable
from trueformer.subject.interface import call_by_name
from trueformer.subject.kept import same_bits
from trueformer.subject.subject import Subject

NAMES = {
    "model": ("model", "net", "network", "module", "gpt", "transformer"),
    "path": ("path", "file", "filename", "fname", "folder", "directory", "dir", "out", "out_dir", "checkpoint_path",
             "ckpt_path", "ckpt", "save_path", "load_path", "save_dir", "file_path", "filepath"),
    "optimizer": ("optimizer", "optim", "opt"),
    "schedule": ("schedule", "scheduler", "lr_scheduler", "sched"),
    "step": ("step", "iteration", "iter_num", "global_step", "steps"),
    "tokenizer": ("tokenizer", "tok"),
    "loader": ("loader", "train_loader", "dataloader"),
}  # fmt: skip
OWN_STATE = {"state", "state_dict", "obj", "data", "checkpoint"}
STEP = 7
SHORT = 1 << 22  # bytes of a file that is read as text
NEEDS = ("save", "load")
EXACT = "0 tensors: what is written is bits, and bits come back."


@dataclass(kw_only=True)
class Training:
    """A copy of the owner's model and of what trains it."""

    model: nn.Module
    optimizer: Any = None
    schedule: Any = None
    loader: Any = None

    def go_on(self, n_steps: int) -> None:
        """Updates with gradients made from the weights alone, so that two equal trainings stay equal."""
        for _ in range(n_steps):
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    parameter.grad = parameter.detach() * 0.1 + 0.01
            self.optimizer.step()
            for parameter in self.model.parameters():
                parameter.grad = None
            if self.schedule is not None:
                self.schedule.step()


def training(subject: Subject, *, perturbed: bool = False) -> Training:
    """A new copy; `perturbed` adds 1 to every weight, so that only what is loaded is right."""
    schedule = subject.schedule if hasattr(subject.schedule, "state_dict") else None
    model, optimizer, schedule = subject.copied_with(subject.optimizer, schedule)
    if perturbed:
        perturb(model)
    return Training(model=model, optimizer=optimizer, schedule=schedule)


def perturb(model: nn.Module) -> None:
    """Adds 1 to every weight."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.add_(1.0)


@contextmanager
def folder() -> Iterator[Path]:
    """The place of a checkpoint, in a folder that goes away."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name) / "checkpoint.pt"


def takes(function: Callable[..., Any], part: str) -> bool:
    """Whether a function has a parameter for this part."""
    return bool(set(NAMES[part]) & set(inspect.signature(function).parameters))


def save(subject: Subject, one: Training, path: Path, *, whole: bool = False) -> Path:
    """Saves a copy; `whole` gives all that is asked for, otherwise what is optional is left out. Where it lies now.

    Raises:
        NotApplicable: the owner's function cannot be tried on a copy.
    """
    assert subject.save is not None
    try:
        said = _called(subject, subject.save, one, path, whole)
    except (FileNotFoundError, NotADirectoryError):
        if path.exists():
            raise
        path.mkdir()
        said = _called(subject, subject.save, one, path, whole)
    lies = Path(said) if isinstance(said, str | Path) else path
    if not files(path) and not lies.exists():
        raise NotApplicable("save wrote no file where it was told to")
    return lies if lies.exists() else path


def load(subject: Subject, one: Training, path: Path, *, whole: bool = False) -> Any:
    """Loads into a copy, and puts in `one.model` the model that was loaded; what the owner's function returned.

    Raises:
        NotApplicable: it loads into no model that can be seen.
    """
    assert subject.load is not None
    result = _called(subject, subject.load, one, path, whole, needs_model=False)
    parts = list(result.values()) if isinstance(result, dict) else result
    parts = list(parts) if isinstance(parts, tuple | list) else [parts]
    modules = [part for part in parts if isinstance(part, nn.Module)]
    if modules:
        one.model = modules[0]
    elif not loads_into(subject):
        raise NotApplicable("load takes no model and gives none back")
    return result


def loads_into(subject: Subject) -> bool:
    """Whether load takes the model that it fills."""
    assert subject.load is not None
    return takes(subject.load, "model")


def _called(
    subject: Subject, function: Any, one: Training, path: Path, whole: bool, needs_model: bool = True
) -> Any:
    known = inspect.signature(function).parameters
    required = {p.name for p in known.values() if p.default is p.empty and p.kind not in (2, 4)}
    parts = {
        "model": one.model,
        "path": path,
        "optimizer": one.optimizer,
        "schedule": one.schedule,
        "step": STEP,
    }
    parts |= {"tokenizer": subject.tokenizer}
    if required & set(NAMES["loader"]) and subject.loader is not None and one.loader is None:
        one.loader = reader(subject.loader)
    parts["loader"] = one.loader
    offered = {
        name: part
        for kind, part in parts.items()
        if part is not None
        for name in NAMES[kind]
        if whole or kind in ("model", "path") or name in required
    }
    unknown = [name for name in required if name not in offered]
    spare = [kind for kind in ("model", "path") if not set(NAMES[kind]) & set(known)]
    if len(unknown) > len(spare) or set(unknown) & OWN_STATE:
        name = getattr(function, "__name__", "it")
        raise NotApplicable(f"{name} asks for {unknown[0]!r}, which is not known here")
    if needs_model and "model" in spare and len(unknown) < len(spare):
        raise NotApplicable("save takes no model, so it can be tried on no copy")
    return call_by_name(function, *spare, **offered)


def files(path: Path) -> list[Path]:
    """The files of a checkpoint, the largest first: those in its folder, whatever they are called."""
    found = [file for file in path.parent.rglob("*") if file.is_file()]
    return sorted(found, key=lambda file: -file.stat().st_size)


def head(file: Path) -> bytes:
    """The first megabyte of a file, where every format has its names."""
    with file.open("rb") as opened:
        return opened.read(1 << 20)


@dataclass(kw_only=True)
class Visit:
    """A training after two steps, what was loaded from its checkpoint, and the random numbers' states at both.

    `random_saved` where the checkpoint holds the state's bytes.
    """

    before: Training
    after: Training
    result: Any
    random_then: Tensor
    random_now: Tensor
    random_saved: bool


def visit(subject: Subject) -> Visit:
    """Saved and loaded once for all laws that only look."""
    return subject.once("checkpoint visit", lambda: new_visit(subject))


def new_visit(subject: Subject) -> Visit:
    """Two steps, saved, and loaded into another copy with other weights."""
    before, after = training(subject), training(subject, perturbed=True)
    if before.optimizer is not None:
        before.go_on(2)
    with folder() as path:
        torch.manual_seed(1234)
        then = torch.get_rng_state()
        lies = save(subject, before, path, whole=True)
        saved = any(_holds(file, then) for file in files(path))
        torch.manual_seed(99)
        result = load(subject, after, lies, whole=True)
        now = torch.get_rng_state()
    return Visit(
        before=before, after=after, result=result, random_then=then, random_now=now, random_saved=saved
    )


def _holds(file: Path, state: Tensor) -> bool:
    """Whether the bytes of a state are in a file, as they are, in base 64 or 16, or as a list of numbers."""
    raw, kept = state.numpy().tobytes(), file.read_bytes()
    spelled = (raw, base64.b64encode(raw), raw.hex().encode())
    listed = ",".join(map(str, raw)).encode()
    return any(form in kept for form in spelled) or (len(kept) < SHORT and listed in b"".join(kept.split()))


def different(one: nn.Module, other: nn.Module) -> list[str]:
    """The names of tensors in which two models differ, in bits, shape or being there at all."""
    first, second = one.state_dict(), other.state_dict()
    names = [*first, *(name for name in second if name not in first)]
    return [
        name
        for name in names
        if name not in first or name not in second or not _same(first[name], second[name])
    ]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return same_bits(one, other)
    return type(one) is type(other)


def tensors(wrong: list[str], said: str) -> Evidence:
    """Evidence of tensors that are wrong, the first of them named."""
    return none_of(len(wrong), unit="tensors", where=wrong[0] if wrong else "", saw=said)
