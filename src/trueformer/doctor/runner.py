"""Runs laws over a subject: each by itself, in a time limit, its crash reported as what it is, everything put back."""

import dataclasses
import gc
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trueformer
from trueformer.doctor.report import Report, Result
from trueformer.laws.law import Law, Verdict
from trueformer.subject.errors import NotApplicable
from trueformer.subject.kept import kept, random_numbers_kept
from trueformer.subject.subject import Subject

OURS = str(Path(trueformer.__file__).parent)
SUPPLY = {
    "generate": "generate= (or --generate FILE:generate)",
    "build": "build= (a callable that makes the model anew)",
    "prepare": "prepare= (a function from documents to the loaders of training and validation)",
    "chats": "chats= (a function from conversations, as lists of messages, to batches)",
}


class _TimeUp(BaseException):
    """Not an Exception, so that no `except Exception` of the code under test swallows it."""


def examine(
    subject: Subject,
    laws: Sequence[Law],
    *,
    name: str = "model",
    deep: bool = False,
    limit: int | float = 60.0,
    done: Callable[[Result], None] | None = None,
) -> Report:
    """Runs the laws in order. `limit` is in seconds for each; `done` is told of each result as it comes."""
    started = time.perf_counter()
    results = []
    with kept(subject.model, subject.optimizer, subject.schedule), _swept() as sweep:
        for law in laws:
            result = _judge(law, subject, deep, limit)
            results.append(result)
            sweep()
            if done is not None:
                done(result)
    return Report(subject=name, results=tuple(results), seconds=time.perf_counter() - started)


@contextmanager
def _swept() -> Iterator[Callable[[], Any]]:
    """What frees the copies that a law leaves in cycles; quick, since all that outlived one sweep is not looked at."""

    def sweep() -> None:
        gc.collect()
        gc.freeze()

    sweep()
    try:
        yield sweep
    finally:
        gc.unfreeze()


def _judge(law: Law, subject: Subject, deep: bool, limit: int | float) -> Result:
    missing = [need for need in law.needs if not subject.has(need)]
    if missing:
        wanted = " and ".join(SUPPLY.get(need, f"{need}= (or --train FILE:parts)") for need in missing)
        return Result(law=law, verdict=Verdict.NOT_CHECKED, reason=f"supply {wanted}")
    if law.deep and not deep:
        return Result(law=law, verdict=Verdict.NOT_CHECKED, reason="takes longer: deep=True (or --deep)")
    started = time.perf_counter()
    result = _run(law, subject, limit)
    seconds = time.perf_counter() - started
    return dataclasses.replace(result, seconds=seconds)


def _run(law: Law, subject: Subject, limit: int | float) -> Result:
    assert law.probe is not None
    try:
        with _limited(limit), warnings.catch_warnings(), random_numbers_kept():
            warnings.simplefilter("ignore")
            evidence = law.probe(subject)
    except NotApplicable as reason:
        return Result(law=law, verdict=Verdict.NOT_APPLICABLE, reason=str(reason))
    except _TimeUp as late:
        reason = "\n".join([f"gave no answer in {limit:g} s", *_lines(late)])
        return Result(law=law, verdict=Verdict.TIMED_OUT, reason=reason, at=place(late))
    except Exception as error:  # noqa: BLE001 - whatever the code under test raises is what is reported
        return Result(law=law, verdict=Verdict.CRASHED, reason=told(error), at=place(error))
    verdict = Verdict.HOLDS if evidence.holds else Verdict.ADVICE if law.advice else Verdict.BROKEN
    return Result(law=law, verdict=verdict, evidence=evidence)


@contextmanager
def _limited(seconds: int | float) -> Iterator[None]:
    """Ends the block after so long; only the main thread can, elsewhere there is no limit."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise _TimeUp

    before, started = signal.signal(signal.SIGALRM, ring), time.monotonic()
    theirs, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if (
            theirs
        ):  # an alarm of the caller's, such as a test's time limit, goes on; one that is overdue rings now
            left = theirs - (time.monotonic() - started)
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3), interval)


def told(error: BaseException) -> str:
    """An error, and the lines of the user's own code that led to it; whose it is where none of theirs did."""
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
    lines = _lines(error)
    if lines:
        return "\n".join([said, *lines])
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{said} (in {Path(last.filename).name}:{last.lineno}, called by the probe)"


def _lines(error: BaseException) -> list[str]:
    return [
        f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in _theirs(error)[-3:]
    ]


def place(error: BaseException) -> str:
    """The file and line of the user's own code where it failed; nothing where none of it was on the way."""
    theirs = _theirs(error)
    return f"{theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""


def _theirs(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if not _is_library(frame.filename)]


def _is_library(filename: str) -> bool:
    return filename.startswith((OURS, "<")) or "site-packages" in filename or "/lib/python3" in filename
