"""Grades a workspace: a copy of it, in a process of its own, within limits of time and memory, without a network.

The process imports laws, subject and probes from the installed package and the stack from the copy. Here its answer
becomes a verdict: what is repaired, what holds, what does not, and whether the grader was fooled with.
"""

import contextlib
import json
import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trueformer.hunt.bug import Bug
from trueformer.hunt.guard import reaching
from trueformer.hunt.plant import write_sources
from trueformer.hunt.sealed import end_with_us
from trueformer.laws.book import laws

SECONDS = 120  # a grading; the usual one takes a tenth of that
MEMORY = 8 * 2**30  # bytes of data a grading may have
LARGEST = 2**20  # bytes of a source file; the largest of ours is a fiftieth of that
THREADS = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """How the grading process is started; `package` is where it sees the stack, which is then a copy already."""

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
    sources = sources_in(package)
    fooled = (*unreadable(package), *reaching(before, sources))
    if fooled:
        return Grade(repaired=dict.fromkeys((b.id for b in bugs), False), fooled=fooled)
    with tempfile.TemporaryDirectory() as folder:
        copy = package if process.package else write_sources(sources, Path(folder) / "trueformer")
        answer = _answer(copy, bugs, seconds, process)
        rewritten = () if sources_in(copy) == sources else ("the project rewrites itself while it is graded",)
    broken = tuple(answer["broken"])
    return Grade(
        repaired={
            b.id: not answer["error"] and b.id not in answer["probes"] and not set(b.laws) & set(broken)
            for b in bugs
        },
        broken=broken,
        fooled=(*(f"{name} is no longer what it was" for name in answer["touched"]), *rewritten),
        error=answer["error"],
        held=answer["held"],
    )


def sources_in(package: Path) -> dict[str, str]:
    """The Python files under a folder, but for links and what is too large; bytes that are no text as U+FFFD."""
    return {
        path.relative_to(package).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(package.rglob("*.py"))
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST
    }


def unreadable(package: Path) -> list[str]:
    """What of a project is not graded, in words: links, whose ends may be anything, and files that are too large."""
    paths = [package, *sorted(package.rglob("*"))]
    links = [path for path in paths if path.is_symlink()]
    large = [path for path in paths if path.suffix == ".py" and path.lstat().st_size > LARGEST]
    return [
        *(f"{path.relative_to(package.parent)} is a link, not a file" for path in links),
        *(f"{path.relative_to(package.parent)} is larger than {LARGEST:,} bytes" for path in large),
    ]


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
        with os.fdopen(mine, errors="replace") as answer:
            process.communicate(json.dumps(job).encode(), timeout=seconds)
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
