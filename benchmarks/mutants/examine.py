"""Examines one mutant in a process of its own, so that one that hangs or dies takes nobody along.

The parent has imported torch and nothing of ours: a child puts the mutated copy of the package first.
"""

import importlib
import json
import multiprocessing
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent.parent
LIMIT = 400  # seconds a mutant; one that takes longer counts as not caught


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The broken laws of a mutant, in the report's order, and what was only advised; `error` where it cannot be run."""

    broken: tuple[str, ...]
    advice: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""
    late: bool = False

    @property
    def caught(self) -> bool:
        """Whether the user is told of anything; sound subjects get no advice either."""
        return bool(self.broken or self.advice or self.error)


class _Enough(Exception):
    """A law is broken: it comes first in the report, whatever else does."""


def examine(file: str, source: str) -> Outcome:
    """Checks the subject, or the stack, in which `file` has this text, until a law is broken."""
    here, there = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_child, args=(there, file, source))
    child.start()
    there.close()
    try:
        said = here.recv() if here.poll(LIMIT) else json.dumps({"broken": [], "late": True})
    except EOFError:
        said = json.dumps({"broken": [], "error": "the process died"})
    child.join(5)  # time to remove its copy of the package
    child.kill()
    child.join()
    answer = json.loads(said)
    return Outcome(
        broken=tuple(answer["broken"]),
        advice=tuple(answer.get("advice", ())),
        seconds=answer.get("seconds", 0.0),
        error=answer.get("error", ""),
        late=answer.get("late", False),
    )


def _child(there: Connection, file: str, source: str) -> None:
    import torch

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # an interrupted child is no answer
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        there.send(
            json.dumps(_of_stack(file, source) if file.startswith("src/") else _of_subject(file, source))
        )
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what a user would see
        said = traceback.format_exception_only(error)[-1].strip()
        there.send(json.dumps({"broken": [], "error": said[:300]}))


def _of_subject(file: str, source: str) -> dict[str, Any]:
    import torch

    module = ModuleType(Path(file).stem)
    sys.modules[module.__name__] = module
    exec(compile(source, file, "exec"), module.__dict__)

    def subject(dtype: torch.dtype) -> dict[str, Any]:
        model = module.build()
        model = model if dtype == torch.float32 else model.to(dtype)
        return {"model": model, **module.parts(model)}

    return _said([partial(subject, dtype) for dtype in getattr(module, "DTYPES", (torch.float32,))])


def _of_stack(file: str, source: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src", Path(folder) / "src", ignore=shutil.ignore_patterns("__pycache__"))
        (Path(folder) / file).write_text(source, encoding="utf-8")
        sys.path.insert(0, str(Path(folder) / "src"))
        subjects = importlib.import_module("trueformer.hunt.subject")
        return _said([partial(subjects.stack, **kind) for kind in subjects.KINDS])


def _said(subjects: Sequence[Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    """What the doctor says of the first of these in which something shows; a bug may show in one of them alone."""
    check = importlib.import_module("trueformer.doctor.check").check
    report_of = importlib.import_module("trueformer.doctor.report").Report
    seconds = 0.0
    for make in subjects:
        seen: list[Any] = []
        with suppress(_Enough):
            check(**make(), done=partial(_note, seen))
        report = report_of(subject="mutant", results=tuple(seen))
        seconds += sum(result.seconds for result in seen)
        if report.broken or report.advice:
            break
    ids = {
        name: [r.law.id for r in part]
        for name, part in (("broken", report.broken), ("advice", report.advice))
    }
    return {**ids, "seconds": seconds}


def _note(seen: list[Any], result: Any) -> None:
    seen.append(result)
    if result.verdict.name == "BROKEN":
        raise _Enough
