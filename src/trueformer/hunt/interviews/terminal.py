"""What an interviewer sees at a terminal: an interview prepared, and its report as a table and as files."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from trueformer.doctor.words import printable
from trueformer.hunt.bug import Bug
from trueformer.hunt.interviews.interview import prepare
from trueformer.hunt.interviews.page import as_data, day, headline, page
from trueformer.hunt.interviews.report import Case, Report, report
from trueformer.hunt.progress import span


def prepared(folder: Path, cases: Sequence[Bug], *, minutes: int | float, hints: int, candidate: str) -> int:
    """Makes an interview and says what to do next; returns 0.

    Raises:
        ValueError: the folder is there, or a number or the name is out of bounds.
    """
    console = Console()
    with console.status(f"planting {len(cases)} cases, and measuring what a colleague would have seen"):
        prepare(folder, cases, minutes=minutes, hints=hints, candidate=candidate)
    for number, case in enumerate(cases, 1):
        console.print(f"  case-{number}: {case.id} ({case.level}, {case.component})", highlight=False)
    console.print(
        f"[bold]{escape(str(folder))}[/]: {minutes:g} minutes; the list above is not for the candidate",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"`trueformer hunt interview sit {escape(str(folder))}` starts the clock",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def reported(folder: Path, out: Path | None, data: Path | None) -> int:
    """Grades, prints a table and writes the files; returns 0.

    Raises:
        ValueError: a file is there already, or the interview cannot be reported on.
    """
    for path in (out, data):
        if path is not None and path.exists():
            raise ValueError(f"{path} is there already: it is not overwritten; give another name")
        if path is not None and not path.resolve().parent.is_dir():
            raise ValueError(f"{path}: there is no folder {path.resolve().parent}; make it first")
    with Console().status("grading every case: every law over small runs"):
        found = report(folder)
    if out is not None:
        out.write_text(page(found), encoding="utf-8")
    if data is not None:
        data.write_text(json.dumps(as_data(found), indent=1) + "\n", encoding="utf-8")
    _show(found)
    return 0


def _show(found: Report) -> None:
    from trueformer.commands.show import table

    table([_row(case) for case in found.cases])
    console = Console(soft_wrap=True, highlight=False)
    for case in found.cases:
        console.print(f"{case.folder}: {escape(case.title)}")
        for line in _told(case):
            console.print(f"  {escape(printable(line))}")
    used = f"{span(found.used)} of {span(found.minutes * 60)}" if found.began else "nobody has sat yet"
    console.print(
        f"{escape(found.candidate or 'the candidate')}, {day(found.began or found.prepared)}: {used}, {headline(found)}"
    )


def _told(case: Case) -> list[str]:
    """What an interviewer must know of a case beside its result."""
    told = [f"not gradable: {case.error}"] if case.error else []
    told += [f"✗ {statement}" for statement in case.broken]
    told += [f"tried to fool the grader, {reason}" for reason in case.fooling]
    return told + ([f"changed after the last sitting: {', '.join(case.late[:10])}"] if case.late else [])


def _row(case: Case) -> dict[str, str]:
    return {
        "case": case.folder,
        "level": case.level,
        "component": case.component,
        "result": case.state,
        "points": f"{case.points:g}/{case.of}",
        "at": "" if case.solved_at is None else span(case.solved_at),
        "checks": str(case.checks),
        "hints": str(case.hints),
    }
