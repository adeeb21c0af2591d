"""What a hunter does, as data: cases, a check, a hint, what is revealed; each noted in the hunt's record.

The terminal (`terminal.py`) shows it. Leaves out what was done before (`progress.py`), folders (`workspace.py`) and
grading (`grade.py`).
"""

import difflib
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trueformer.hunt import record as records
from trueformer.hunt.bug import HINTS, Bug, bug, bugs
from trueformer.hunt.grade import Grade, grade
from trueformer.hunt.project import project
from trueformer.hunt.record import Record
from trueformer.hunt.score import HINT_COSTS, most
from trueformer.hunt.workspace import PACKAGE, bugs_of, open_workspace
from trueformer.laws.book import laws


@dataclass(frozen=True, kw_only=True, slots=True)
class Hint:
    """The `number`th hint, one text for each bug, and what it costs in points."""

    number: int
    texts: tuple[str, ...]
    cost: int | float


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A planted bug, the way back to sound code as a diff, and the statements of its laws by id."""

    bug: Bug
    difference: str
    laws: dict[str, str]


def listed(level: str | None, component: str | None) -> list[dict[str, Any]]:
    """The cases as rows.

    Raises:
        ValueError: there is no case of that component.
    """
    known = sorted({b.component for b in bugs().values()})
    if component is not None and component not in known:
        raise ValueError(f"there is no case of component {component!r}: expected one of {', '.join(known)}")
    done = {id for record in records.every() if record.solved_at for id in record.bugs}
    return [
        {
            "case": b.id,
            "level": b.level,
            "component": b.component,
            "solved": "✓" if b.id in done else "",
            "what is seen": b.title,
        }
        for b in bugs().values()
        if level in (None, b.level) and component in (None, b.component)
    ]


def chosen(id: str, draw: bool, count: int, level: str | None, seed: int | None) -> list[Bug]:
    """The bug of that id, or those that are drawn.

    Raises:
        ValueError: both or neither is asked for, there is no such case, or there are not so many.
    """
    if bool(id) == draw:
        raise ValueError(
            "name a case (`trueformer hunt list` has them), or have one drawn with --random; not both"
        )
    return drawn(count, level, seed) if draw else [bug(id)]


def drawn(count: int, level: str | None, seed: int | None, option: str = "--bugs") -> list[Bug]:
    """So many bugs of different components that can be planted together; `option` is what asked for them.

    Raises:
        ValueError: there are not so many.
    """
    pick = random.Random(seed) if seed is not None else random.SystemRandom()
    cases = [b for b in bugs().values() if level in (None, b.level)]
    pick.shuffle(cases)
    found: list[Bug] = []
    for case in cases:
        apart = all(case.component != other.component and not _same_place(case, other) for other in found)
        if len(found) < count and apart:
            found.append(case)
    if count < 1 or len(found) < count:
        raise ValueError(
            f"{option} is {count}: expected 1 to {len(found)}, which is how many such cases go together"
        )
    return found


def _same_place(one: Bug, other: Bug) -> bool:
    return bool({(e.file, e.where) for e in one.edits} & {(e.file, e.where) for e in other.edits})


def check(place: Path) -> tuple[Record, Grade]:
    """Grades a workspace and notes what came of it."""
    folder, record = open_workspace(place)
    result = grade(folder / PACKAGE, bugs_of(record), record.sources)
    record = records.load(record.name)  # a hint may have been taken meanwhile
    _note(record, result)
    return record, result


def _note(record: Record, result: Grade) -> None:
    record.checks += 1
    if not record.solved_at and not record.revealed:
        sound = not result.error and not result.fooled and not _damage(record, result)
        record.repaired = [id for id, done in result.repaired.items() if done and sound]
        record.solved_at = time.time() if result.solved else None
    record.save()


def _damage(record: Record, result: Grade) -> bool:
    """Whether laws are broken that the bugs which are still there do not break: a repair took something else along."""
    left = [planted for planted in bugs_of(record) if not result.repaired[planted.id]]
    expected = {component for planted in left for component in (planted.component, *planted.follows)}
    return any(law.split("/")[0] not in expected for law in result.broken)


def hint(place: Path) -> Hint:
    """The next hint of each bug.

    Raises:
        ValueError: there are no more, or its interview allows no more.
    """
    return next_hint(open_workspace(place)[1])


def next_hint(record: Record) -> Hint:
    """The next hint of each bug of a hunt, noted in its record.

    Raises:
        ValueError: there are no more, or its interview allows no more.
    """
    if record.allowed is not None and record.hints >= record.allowed:
        raise ValueError(f"{_held_back(record)} allows {record.allowed or 'no'} hints")
    if record.solved_at:
        raise ValueError("it is solved: `trueformer hunt reveal` shows everything, for nothing")
    if record.hints == HINTS:
        raise ValueError(f"all {HINTS} hints are given: `trueformer hunt reveal --give-up` shows the rest")
    texts = tuple(planted.hints[record.hints] for planted in bugs_of(record))
    cost = HINT_COSTS[record.hints] * most(record)
    record.hints += 1
    record.save()
    return Hint(number=record.hints, texts=texts, cost=cost)


def _held_back(record: Record) -> str:
    return f"{record.workspace} is of an interview, which"


def reveal(place: Path, *, give_up: bool) -> list[Answer]:
    """Every bug of a workspace.

    Raises:
        ValueError: it is neither solved nor given up, or of an interview that is not reported on yet.
    """
    _, record = open_workspace(place)
    if record.allowed is not None:
        raise ValueError(
            f"{_held_back(record)} reveals nothing before `trueformer hunt interview report` has ended it"
        )
    if not record.solved_at and not give_up:
        raise ValueError(
            "not solved yet: `trueformer hunt check` grades, and --give-up shows it anyway, for no points"
        )
    record.revealed = True
    record.save()
    statements = {law.id: law.statement for law in laws()}
    return [
        Answer(
            bug=planted,
            difference=difference(record, planted),
            laws={id: statements[id] for id in planted.laws},
        )
        for planted in bugs_of(record)
    ]


def difference(record: Record, planted: Bug) -> str:
    """What was planted, as a diff from the code as it was handed out to sound code, of this bug's files."""
    sound = project()
    files = sorted({edit.file for edit in planted.edits})
    lines = [
        line
        for file in files
        for line in difflib.unified_diff(
            record.sources[file].splitlines(),
            sound[file].splitlines(),
            f"{file} with the bug",
            file,
            lineterm="",
            n=2,
        )
    ]
    return "\n".join(lines)
