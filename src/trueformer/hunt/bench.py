"""Measures a hunter that is a program: a set of cases, a clean folder each, a budget of time, and a score by behaviour.

The command runs in the workspace, sealed in (`sealed.py`), with the incident on its standard input and as INCIDENT.md.
It is graded after it has ended, by a process outside the seal. Rows are written as they come, so an interrupted bench
keeps what it has.
"""

import dataclasses
import difflib
import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trueformer.evaluation.score import Score
from trueformer.hunt.bug import LEVELS, Bug
from trueformer.hunt.edits import Sources
from trueformer.hunt.grade import grade, sources_in
from trueformer.hunt.plant import planted
from trueformer.hunt.sealed import sealed, why_not_sealed
from trueformer.hunt.workspace import PACKAGE, fill

LONGEST = 20_000  # characters kept of what a command prints


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """How the command is run: minutes a case, sealed or not, with a network or not, what it may see beside the usual."""

    minutes: int | float = 10.0
    seal: bool = True
    network: bool = False
    allow: tuple[Path, ...] = ()
    environment: tuple[str, ...] = ()  # names of variables that are handed through
    measure: bool = True  # whether reports have numbers and figures: some seconds a case

    def refuse(self) -> None:
        """Raises ValueError where the machine cannot do it."""
        why = why_not_sealed() if self.seal else ""
        if why:
            raise ValueError(
                f"hunters cannot be sealed in: {why}. Run in a container that allows it, or with --unsealed, where the "
                "installed package, and so every answer, is within the command's reach"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One case and what became of it; `edits` counts changed lines, and `files` changed files."""

    case: str
    level: str
    component: str
    solved: bool
    score: float
    of: int
    seconds: float
    exit: int | None
    timed_out: bool
    sealed: bool
    files: int
    edits: int
    held: int
    broken: int
    fooled: tuple[str, ...] = ()
    error: str = ""
    said: str = ""


def bench(command: str, cases: Sequence[Bug], setting: Setting, out: Path) -> Iterator[Row]:
    """Each case's row as soon as it is known, also written to `out`, one JSON object a line.

    Raises:
        ValueError: `out` is there already, there is no case, or hunters cannot be sealed in here.
    """
    if not cases:
        raise ValueError("there is no case to run: `trueformer hunt list` shows what there is")
    if out.exists():
        raise ValueError(f"{out} is there already: it is not overwritten; give another name with --out")
    setting.refuse()
    with out.open("x", encoding="utf-8") as file:
        for case in cases:
            row = _hunted(command, case, setting)
            file.write(json.dumps(dataclasses.asdict(row)) + "\n")
            file.flush()
            yield row


def _hunted(command: str, case: Bug, setting: Setting) -> Row:
    """One case, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hunt-") as temporary:
        folder = Path(temporary) / "workspace"
        sources = planted([case])
        fill(folder, [case], sources, minutes=setting.minutes, measure=setting.measure)
        started = time.monotonic()
        exit, late, said = _run(command, folder, setting)
        seconds = time.monotonic() - started
        result = grade(folder / PACKAGE, [case], sources)
        files, edits = _changed(sources, sources_in(folder / PACKAGE))
    return Row(
        case=case.id,
        level=case.level,
        component=case.component,
        solved=result.solved,
        score=float(case.weight) if result.solved else 0.0,
        of=case.weight,
        seconds=round(seconds, 2),
        exit=exit,
        timed_out=late,
        sealed=setting.seal,
        files=files,
        edits=edits,
        held=result.held,
        broken=len(result.broken),
        fooled=result.fooled,
        error=result.error,
        said=said,
    )


def _run(command: str, folder: Path, setting: Setting) -> tuple[int | None, bool, str]:
    """The command's exit code (none where time ended it), whether it did, and the end of what it printed."""
    words, environment = shlex.split(command), dict(os.environ)
    given = {name: os.environ[name] for name in setting.environment if name in os.environ}
    if setting.seal:
        words, environment = sealed(
            folder, words, network=setting.network, allow=setting.allow, environment=given
        )
    with (folder / "INCIDENT.md").open(encoding="utf-8") as incident:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=incident,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    late = False
    try:
        output, _ = process.communicate(timeout=setting.minutes * 60)
    except subprocess.TimeoutExpired:
        late = True
        _end(process)
        output, _ = process.communicate()
    finally:
        _end(process)
    return None if late else process.returncode, late, output.decode("utf-8", "replace")[-LONGEST:]


def _end(process: subprocess.Popen) -> None:
    """The command and all that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _changed(before: Sources, after: Sources) -> tuple[int, int]:
    """How many files differ, and how many lines went or came."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    lines = [
        line
        for name in names
        for line in difflib.ndiff(before.get(name, "").splitlines(), after.get(name, "").splitlines())
        if line.startswith(("+ ", "- "))
    ]
    return len(names), len(lines)


def summary(rows: Sequence[Row]) -> list[dict[str, str]]:
    """By level, by component and in all: the share solved with Wilson's 95 % interval, median time and changed lines."""
    groups = [(level, [r for r in rows if r.level == level]) for level in LEVELS]
    groups += [
        (name, [r for r in rows if r.component == name]) for name in sorted({r.component for r in rows})
    ]
    return [_summed(name, chosen) for name, chosen in [*groups, ("all", list(rows))] if chosen]


def _summed(name: str, rows: list[Row]) -> dict[str, str]:
    share = Score(correct=sum(row.solved for row in rows), total=len(rows))
    return {
        "cases": name,
        "solved": str(share),
        "points": f"{sum(row.score for row in rows):g} of {sum(row.of for row in rows)}",
        "seconds": f"{sorted(row.seconds for row in rows)[len(rows) // 2]:.1f}",
        "lines changed": str(sorted(row.edits for row in rows)[len(rows) // 2]),
        "fooled": str(sum(bool(row.fooled) for row in rows)),
    }
