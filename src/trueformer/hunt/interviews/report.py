"""What came of an interview, as data: each case graded as it is now, what the candidate did, and the original repair.

Making it ends the interview. The page is made by `page.py`, the table by `terminal.py`.
"""

import difflib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trueformer.hunt.bug import Bug
from trueformer.hunt.grade import Grade
from trueformer.hunt.interviews.handed_in import HandedIn, handed_in
from trueformer.hunt.interviews.interview import Asked, Interview, opened
from trueformer.hunt.interviews.sealed_grade import grade_sealed
from trueformer.hunt.interviews.sitting import alone
from trueformer.hunt.progress import span
from trueformer.hunt.record import Record
from trueformer.hunt.score import HINT_COSTS
from trueformer.hunt.sealed import why_not_sealed
from trueformer.hunt.sessions import difference
from trueformer.hunt.workspace import bugs_of

State = Literal["solved", "partly", "not solved"]
SHARES: dict[State, float] = {"solved": 1.0, "partly": 0.5, "not solved": 0.0}
LONGEST_FILE = 5000  # lines that are compared
LONGEST_DIFFERENCE = 600  # lines that are shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One case: what it was, what became of it, and how. `solved_at`: seconds on the clock, where a check said so."""

    folder: str
    id: str
    title: str
    level: str
    component: str
    state: State
    points: int | float
    of: int
    solved_at: int | float | None
    hints: int
    asked: tuple[Asked, ...]
    held: int
    broken: tuple[str, ...]  # statements of laws
    fooling: tuple[str, ...]  # when, and what
    error: str
    late: tuple[str, ...]  # files that changed after the last sitting
    files: int
    lines: int
    difference: str
    original: str
    lesson: str
    source: str

    @property
    def checks(self) -> int:
        """How many the candidate asked for."""
        return sum(asked.what == "check" for asked in self.asked)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """An interview and its cases. Times are seconds since 1970, `used` seconds on the clock."""

    candidate: str
    folder: str
    version: str
    prepared: float
    began: float | None
    reported: float
    minutes: int | float
    used: int | float
    hints: int  # that were allowed in each case
    unwatched: bool  # whether the last sitting was killed, so that nobody knows what was changed later
    cases: tuple[Case, ...]

    @property
    def solved(self) -> int:
        """How many cases."""
        return sum(case.state == "solved" for case in self.cases)

    @property
    def points(self) -> float:
        """Of all cases."""
        return float(sum(case.points for case in self.cases))

    @property
    def of(self) -> int:
        """The points of all cases solved without a hint."""
        return sum(case.of for case in self.cases)


def report(place: Path) -> Report:
    """Grades every case and ends the interview.

    Raises:
        ValueError: no such interview, it is being sat, or this machine cannot seal the candidate's code in.
    """
    with alone(opened(place)):
        interview = opened(place)
        why = why_not_sealed()
        if why:
            raise ValueError(
                f"a candidate's code is graded in a seal, and this machine cannot make one: {why}"
            )
        hunts = {folder: interview.record(folder) for folder in interview.cases}
        cases = tuple(_case(interview, folder, record) for folder, record in hunts.items())
        interview.reported = time.time()
        for record in hunts.values():
            record.allowed = None
            record.save()
        interview.save()
    return Report(
        candidate=interview.candidate,
        folder=interview.folder,
        version=interview.version,
        prepared=interview.prepared,
        began=interview.began,
        reported=interview.reported,
        minutes=interview.minutes,
        used=interview.used,
        hints=interview.hints,
        unwatched=interview.began is not None and not interview.left,
        cases=cases,
    )


def _case(interview: Interview, folder: str, record: Record) -> Case:
    (planted,) = bugs_of(record)
    given = handed_in(Path(interview.folder), folder)
    result = grade_sealed(given, planted, record.sources)
    asked = tuple(one for one in interview.asked if one.case == folder)
    state = _state(result)
    changed = changes(record.sources, given.sources) if not given.wrong else []
    return Case(
        folder=folder,
        id=planted.id,
        title=planted.title,
        level=planted.level,
        component=planted.component,
        state=state,
        points=_points(planted, state, record.hints),
        of=planted.weight,
        solved_at=next((one.at for one in asked if one.solved), None),
        hints=record.hints,
        asked=asked,
        held=result.held,
        broken=result.behaviours,
        fooling=_fooling(result, asked),
        error=result.error,
        late=_late(interview.left.get(folder), given),
        files=sum(line.startswith("+++ ") for line in changed),
        lines=sum(line.startswith(("+", "-")) and not line.startswith(("+++ ", "--- ")) for line in changed),
        difference=_shortened(changed),
        original=difference(record, planted),
        lesson=planted.lesson.strip(),
        source=planted.source,
    )


def _state(result: Grade) -> State:
    if result.solved:
        return "solved"
    mended = all(result.repaired.values()) and not result.fooled and not result.error
    return "partly" if mended else "not solved"


def _points(planted: Bug, state: State, hints: int) -> float:
    return max(0.0, planted.weight * (SHARES[state] - sum(HINT_COSTS[:hints])))


def _fooling(result: Grade, asked: tuple[Asked, ...]) -> tuple[str, ...]:
    tried = [f"{span(one.at)}: {reason}" for one in asked for reason in one.fooled]
    return (*tried, *(f"at the end: {reason}" for reason in result.fooled))


def _late(left: Mapping[str, str] | None, given: HandedIn) -> tuple[str, ...]:
    """The files that are not what they were when the last sitting ended."""
    if left is None:
        return ()
    names = sorted({*left, *given.sources})
    return tuple(name for name in names if left.get(name) != given.sources.get(name))


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Every file that differs, as the lines of a diff; files that are too long to compare are named."""
    found: list[str] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, ""), after.get(name, "")
        if old == new:
            continue
        if new.count("\n") > LONGEST_FILE:
            found += [
                f"--- {name}",
                f"+++ {name}",
                f"@@ {new.count(chr(10)):,} lines: too long to compare @@",
            ]
            continue
        old_name, new_name = name if name in before else "nothing", name if name in after else "nothing"
        found += difflib.unified_diff(
            old.splitlines(), new.splitlines(), old_name, new_name, lineterm="", n=2
        )
    return found


def _shortened(lines: list[str]) -> str:
    more = len(lines) - LONGEST_DIFFERENCE
    return "\n".join([*lines[:LONGEST_DIFFERENCE], *([f"… and {more} more lines"] if more > 0 else [])])
