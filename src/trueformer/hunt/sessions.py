"""What a hunter at a terminal does: list, begin, check, ask for a hint, reveal.

Leaves out options (`commands/hunt.py`), what was done before (`progress.py`), folders (`workspace.py`) and grading
(`grade.py`).
"""

import difflib
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.syntax import Syntax

from trueformer.hunt import record as records
from trueformer.hunt.bench import Row, Setting, bench, summary
from trueformer.hunt.bug import HINTS, Bug, bug, bugs
from trueformer.hunt.grade import Grade, grade
from trueformer.hunt.progress import span
from trueformer.hunt.project import project
from trueformer.hunt.record import Record
from trueformer.hunt.score import HINT_COSTS, most, points
from trueformer.hunt.workspace import PACKAGE, bugs_of, open_workspace, start
from trueformer.laws.book import laws

SHOWN = 8  # behaviours that a check lists


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


def begin(chosen: Sequence[Bug], folder: Path | None, *, minutes: int | float | None, shown: bool) -> int:
    """Makes a workspace and says where; returns 0.

    Raises:
        ValueError: the folder is there.
    """
    place = folder or _free()
    console = Console()
    with console.status("planting, and measuring what a colleague would have seen"):
        record = start(place, chosen, minutes=minutes, shown=shown)
    name = chosen[0].id if shown else "a drawn case"
    limit = "" if minutes is None else f", {minutes:g} minutes"
    console.print(f"[bold]{place}[/]: {name}, worth {most(record)} points{limit}", highlight=False)
    console.print(f"cd {place}; read INCIDENT.md first; `trueformer hunt check` grades", highlight=False)
    return 0


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


def drawn(count: int, level: str | None, seed: int | None) -> list[Bug]:
    """So many bugs of different components that can be planted together.

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
            f"--bugs is {count}: expected 1 to {len(found)}, which is how many such cases go together"
        )
    return found


def _same_place(one: Bug, other: Bug) -> bool:
    return bool({(e.file, e.where) for e in one.edits} & {(e.file, e.where) for e in other.edits})


def _free() -> Path:
    number = 1
    while Path(f"hunt-{number}").exists():
        number += 1
    return Path(f"hunt-{number}")


def check(place: Path) -> int:
    """Grades and says what holds; returns 0 when solved, 1 when not."""
    folder, record = open_workspace(place)
    console = Console()
    with console.status(f"grading {folder.name}: every law over small runs of your code"):
        result = grade(folder / PACKAGE, bugs_of(record), record.sources)
    _note(record, result)
    _show(console, record, result)
    return 0 if result.solved else 1


def _note(record: Record, result: Grade) -> None:
    record.checks += 1
    if not record.solved_at and not record.revealed:
        sound = not result.error and not result.fooled
        record.repaired = [id for id, done in result.repaired.items() if done and sound]
        record.solved_at = time.time() if result.solved else None
    record.save()


def _show(console: Console, record: Record, result: Grade) -> None:
    if result.error:
        console.print(f"[red]not gradable[/]: {escape(result.error)}", highlight=False)
        return
    if result.fooled:
        console.print("[red]refused[/]: a repair has no need of this", highlight=False)
        for reason in result.fooled[:SHOWN]:
            console.print(f"  · {escape(reason)}", highlight=False)
        return
    done = sum(result.repaired.values())
    if result.solved:
        console.print(f"[green]solved[/]: all {result.held} behaviours hold", highlight=False)
        console.print(
            f"{points(record):.0f} of {most(record)} points, {span(record.taken)}, {record.hints} hints",
            highlight=False,
        )
        console.print("`trueformer hunt reveal` shows the original repair and the lesson", highlight=False)
        return
    console.print(
        f"[red]not solved[/]: {done} of {len(result.repaired)} repaired, {result.held} behaviours hold",
        highlight=False,
    )
    for statement in result.behaviours[:SHOWN]:
        console.print(f"  ✗ {escape(statement)}", highlight=False)
    if len(result.behaviours) > SHOWN:
        console.print(f"  … and {len(result.behaviours) - SHOWN} more", highlight=False)
    if not result.behaviours:
        console.print(
            "  ✗ what the report describes is still there, in shapes other than yours", highlight=False
        )


def hint(place: Path) -> int:
    """Shows the next hint of each bug; returns 0.

    Raises:
        ValueError: there are no more.
    """
    _, record = open_workspace(place)
    if record.hints == HINTS:
        raise ValueError(f"all {HINTS} hints are given: `trueformer hunt reveal --give-up` shows the rest")
    for number, planted in enumerate(bugs_of(record), 1):
        which = f"bug {number}: " if len(record.bugs) > 1 else ""
        Console().print(f"[bold]{which}[/]{escape(planted.hints[record.hints])}", highlight=False)
    cost = HINT_COSTS[record.hints] * most(record)
    record.hints += 1
    record.save()
    Console().print(f"[dim]hint {record.hints} of {HINTS}, {cost:.0f} points[/]", highlight=False)
    return 0


def reveal(place: Path, *, give_up: bool) -> int:
    """Shows every bug: the difference, the lesson, the laws, the source; returns 0.

    Raises:
        ValueError: it is neither solved nor given up.
    """
    _, record = open_workspace(place)
    if not record.solved_at and not give_up:
        raise ValueError(
            "not solved yet: `trueformer hunt check` grades, and --give-up shows it anyway, for no points"
        )
    console = Console()
    for planted in bugs_of(record):
        console.rule(f"{planted.id} · {planted.level} · {planted.component}", align="left")
        console.print(Markdown(planted.lesson.strip()))
        console.print(Syntax(difference(record, planted), "diff", background_color="default"))
        for id in planted.laws:
            console.print(f"law {id}: {_statement(id)}", highlight=False)
        console.print(f"source: {planted.source}", highlight=False)
    record.revealed = True
    record.save()
    return 0


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


def _statement(id: str) -> str:
    return next((law.statement for law in laws() if law.id == id), "")


def benched(
    command: str,
    ids: Sequence[str],
    level: str | None,
    component: str | None,
    setting: Setting,
    out: Path,
) -> int:
    """Runs a program over cases, tells of each, and prints the table of all; returns 0."""
    from trueformer.commands.show import table

    wanted = {row["case"] for row in listed(level, component)}
    cases = [bug(id) for id in ids] or [b for b in bugs().values() if b.id in wanted]
    rows: list[Row] = []
    try:
        for row in bench(command, cases, setting, out):
            rows.append(row)
            state = (
                "solved"
                if row.solved
                else "fooled"
                if row.fooled
                else "late"
                if row.timed_out
                else "not solved"
            )
            print(
                f"{len(rows)}/{len(cases)} {row.case}: {state}, {row.seconds:.1f} s, {row.edits} lines",
                flush=True,
            )
    finally:
        if rows:
            table(summary(rows), title=f"{command} · {out}")
    return 0
