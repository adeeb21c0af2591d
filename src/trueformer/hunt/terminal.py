"""What a hunter sees at a terminal: a workspace begun, a grade, a hint, the answers, the table of a bench.

Leaves out what is done (`sessions.py`) and options (`commands/hunt.py`).
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.syntax import Syntax

from trueformer.hunt import sessions
from trueformer.hunt.bench import Row, Setting, bench, summary
from trueformer.hunt.bug import HINTS, Bug, bug, bugs
from trueformer.hunt.grade import Grade
from trueformer.hunt.progress import span
from trueformer.hunt.record import Record
from trueformer.hunt.score import most, points
from trueformer.hunt.workspace import start

SHOWN = 8  # behaviours that a check lists


def begin(
    chosen: Sequence[Bug], folder: Path | None, *, minutes: int | float | None, shown: bool, notebook: bool
) -> int:
    """Makes a workspace and says where; returns 0.

    Raises:
        ValueError: the folder is there.
    """
    place = folder or _free()
    console = Console()
    with console.status("planting, and measuring what a colleague would have seen"):
        record = start(place, chosen, minutes=minutes, shown=shown, notebook=notebook)
    name = chosen[0].id if shown else "a drawn case"
    limit = "" if minutes is None else f", {minutes:g} minutes"
    console.print(f"[bold]{place}[/]: {name}, worth {most(record)} points{limit}", highlight=False)
    console.print(f"cd {place}; read INCIDENT.md first; `trueformer hunt check` grades", highlight=False)
    return 0


def _free() -> Path:
    number = 1
    while Path(f"hunt-{number}").exists():
        number += 1
    return Path(f"hunt-{number}")


def check(place: Path) -> int:
    """Grades and says what holds; returns 0 when solved, 1 when not."""
    console = Console()
    with console.status(f"grading {place.resolve().name}: every law over small runs of your code"):
        record, result = sessions.check(place)
    _show(console, record, result)
    return 0 if result.solved else 1


def _show(console: Console, record: Record, result: Grade) -> None:
    show_grade(console, result)
    if result.solved:
        console.print(
            f"{points(record):.0f} of {most(record)} points, {span(record.taken)}, {record.hints} hints",
            highlight=False,
        )
        console.print("`trueformer hunt reveal` shows the original repair and the lesson", highlight=False)


def show_grade(console: Console, result: Grade) -> None:
    """What a grade tells a hunter: what does not hold, and never where."""
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
    """Shows the next hint of each bug; returns 0."""
    given = sessions.hint(place)
    for number, text in enumerate(given.texts, 1):
        which = f"bug {number}: " if len(given.texts) > 1 else ""
        Console().print(f"[bold]{which}[/]{escape(text)}", highlight=False)
    Console().print(f"[dim]hint {given.number} of {HINTS}, {given.cost:.0f} points[/]", highlight=False)
    return 0


def reveal(place: Path, *, give_up: bool) -> int:
    """Shows every bug: the difference, the lesson, the laws, the source; returns 0."""
    console = Console()
    for answer in sessions.reveal(place, give_up=give_up):
        planted = answer.bug
        console.rule(f"{planted.id} · {planted.level} · {planted.component}", align="left")
        console.print(Markdown(planted.lesson.strip()))
        console.print(Syntax(answer.difference, "diff", background_color="default"))
        for id, statement in answer.laws.items():
            console.print(f"law {id}: {statement}", highlight=False)
        console.print(f"source: {planted.source}", highlight=False)
    return 0


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

    wanted = {row["case"] for row in sessions.listed(level, component)}
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
