"""Grades a workspace: in a process of its own, within limits of time and memory, without a network.

The process imports laws, subject and probes from the installed package and the stack from the workspace. Here its
answer becomes a verdict: what is repaired, what holds, what does not, and whether the grader was fooled with.
"""

import contextlib
import json
import os
import resource
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trueformer.hunt.bug import Bug
from trueformer.hunt.guard import reaching
from trueformer.hunt.sealed import end_with_us
from trueformer.laws.book import laws

SECONDS = 120  # a grading; the usual one takes a tenth of that
MEMORY = 8 * 2**30  # bytes of data a grading may have
THREADS = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """How the grading process is started; `package` is where it sees the stack, when not where it is for us."""

    command: tuple[str, ...] = (sys.executable, "-P", "-m", "trueformer.hunt.grader")
    environment: Mapping[str, str] | None = None
    package: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """What became of each planted bug, the laws and reasons that speak against, and how many laws hold."""

    repaired: dict[str, bool]
    broken: tuple[str, ...] = ()
    fooled: tuple[str, ...] = ()
    error: str = ""
    held: int = 0

    @property
    def solved(self) -> bool:
        """Whether everything is repaired, and nothing else broken."""
        return all(self.repaired.values()) and not self.broken and not self.fooled and not self.error

    @property
    def behaviours(self) -> tuple[str, ...]:
        """The statements of the laws that do not hold; they tell what is wrong, not where."""
        known = {law.id: law.statement for law in laws()}
        return tuple(known[id] for id in self.broken)


def grade(
    package: Path,
    bugs: Sequence[Bug],
    before: Mapping[str, str],
    *,
    seconds: int = SECONDS,
    process: Process = Process(),
) -> Grade:
    """Grades the stack in `package`, in which `bugs` were planted; `before` are the sources as they were handed out."""
    fooled = tuple(reaching(before, sources_in(package)))
    if fooled:
        return Grade(repaired=dict.fromkeys((b.id for b in bugs), False), fooled=fooled)
    answer = _answer(package, bugs, seconds, process)
    broken = tuple(answer["broken"])
    return Grade(
        repaired={
            b.id: not answer["error"] and b.id not in answer["probes"] and not set(b.laws) & set(broken)
            for b in bugs
        },
        broken=broken,
        fooled=tuple(f"{name} is no longer what it was" for name in answer["touched"]),
        error=answer["error"],
        held=answer["held"],
    )


def sources_in(package: Path) -> dict[str, str]:
    """The Python files under a folder; what is not text reads as nothing."""
    return {
        path.relative_to(package).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(package.rglob("*.py"))
        if path.is_file()
    }


def _answer(package: Path, bugs: Sequence[Bug], seconds: int, how: Process) -> dict:
    """What the grading process says; an `error` where it says nothing."""
    nonce = secrets.token_hex(16)
    mine, theirs = os.pipe()
    job = {
        "package": how.package or str(package.resolve()),
        "bugs": [b.id for b in bugs],
        "seed": secrets.randbelow(2**31),
        "nonce": nonce,
        "threads": THREADS,
        "answer": theirs,
    }
    process = subprocess.Popen(
        how.command,
        env=how.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(theirs,),
        cwd="/",
        start_new_session=True,
        preexec_fn=_limit,
    )
    os.close(theirs)
    nothing = {"broken": [], "probes": [], "touched": [], "held": 0}
    try:
        process.communicate(json.dumps(job).encode(), timeout=seconds)
        with os.fdopen(mine, errors="replace") as answer:
            said = _said(answer.read())
    except subprocess.TimeoutExpired:
        return {
            **nothing,
            "error": f"grading took longer than {seconds} s: something in the project never ends",
        }
    finally:
        _end(process)
    if said.get("nonce") != nonce:
        return {
            **nothing,
            "error": f"the grading process ended without an answer (exit {process.returncode})",
        }
    return said


def _said(text: str) -> dict:
    """The object that was answered; empty where code of the hunter's wrote something else there."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _limit() -> None:
    """In the child, before it becomes the grader."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    end_with_us()


def _end(process: subprocess.Popen) -> None:
    """The whole session of the process, whatever it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
