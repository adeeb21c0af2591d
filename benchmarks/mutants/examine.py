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
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent.parent
LIMIT = 150  # seconds a mutant


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The broken laws of a mutant, in the report's order, and what was only advised; `error` where no report came."""

    broken: tuple[str, ...]
    advice: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""

    @property
    def caught(self) -> bool:
        """Whether the user is told of anything; sound subjects get no advice either."""
        return bool(self.broken or self.advice or self.error)


class _Enough(Exception):
    """A law is broken, and no other is asked for."""


def examine(file: str, source: str, first: bool = False) -> Outcome:
    """Checks the subject, or the stack, in which `file` has this text; a subject until the `first` law breaks."""
    here, there = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_child, args=(there, file, source, first))
    child.start()
    there.close()
    try:
        said = (
            here.recv()
            if here.poll(LIMIT)
            else json.dumps({"broken": [], "error": f"no answer in {LIMIT} s"})
        )
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
    )


def _child(there: Connection, file: str, source: str, first: bool) -> None:
    import torch

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # an interrupted child is no answer
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        report = _of_stack(file, source) if file.startswith("src/") else _of_subject(file, source, first)
        said = {"broken": report.broken, "advice": report.advice}
        there.send(
            json.dumps(
                {name: [r.law.id for r in part] for name, part in said.items()} | {"seconds": report.seconds}
            )
        )
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what a user would see
        said = traceback.format_exception_only(error)[-1].strip()
        there.send(json.dumps({"broken": [], "error": said[:300]}))


def _of_subject(file: str, source: str, first: bool) -> Any:
    import torch

    from trueformer.doctor.check import check
    from trueformer.doctor.report import Report, Result

    module = ModuleType(Path(file).stem)
    sys.modules[module.__name__] = module
    exec(compile(source, file, "exec"), module.__dict__)
    seen: list[Result] = []

    def note(result: Result) -> None:
        seen.append(result)
        if first and result.fails:
            raise _Enough

    with suppress(_Enough):
        for dtype in getattr(module, "DTYPES", (torch.float32,)):
            model = module.build().to(dtype)
            report = check(model, done=note, **module.parts(model))
            if report.broken or report.advice:
                break
        return report
    return Report(subject=file, results=tuple(seen), seconds=sum(result.seconds for result in seen))


def _of_stack(file: str, source: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src", Path(folder) / "src", ignore=shutil.ignore_patterns("__pycache__"))
        (Path(folder) / file).write_text(source, encoding="utf-8")
        sys.path.insert(0, str(Path(folder) / "src"))
        check = importlib.import_module("trueformer.doctor.check").check
        subjects = importlib.import_module("stack_subject")
        for kind in subjects.KINDS:  # a bug in what one kind of model alone runs shows in that one
            report = check(**subjects.stack(**kind))
            if report.broken or report.advice:
                break
        return report
