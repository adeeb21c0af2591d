"""What the page is told: of all cases and hunts, and of one hunt; never more than its hunter may know by now.

Of a drawn case that is neither solved nor given up there is no id, component, hint not yet taken, or lesson in it.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from trueformer.hunt import progress, sessions
from trueformer.hunt import record as records
from trueformer.hunt.bug import HINTS, LEVELS
from trueformer.hunt.incident import experiments
from trueformer.hunt.record import Record
from trueformer.hunt.score import HINT_COSTS, lost, most, points
from trueformer.hunt.workspace import bugs_of, handed_out, open_workspace

FIGURE = re.compile(r"[\w-][\w.-]{0,99}\.png")
MOST_FIGURE = 2**22  # bytes
ROW = re.compile(r"\| (\w+) \| (\S+) \| (\S+) \|")


def overview() -> dict[str, Any]:
    """All cases, one's hunts (the latest first), and what they came to."""
    rows = [{**progress.row(record), **_link(record)} for record in reversed(records.every())]
    return {
        "cases": sessions.listed(None, None),
        "levels": LEVELS,
        "hunts": rows,
        "points": sum(row["points"] for row in rows),
        "solved": progress.solved(),
        "streak": progress.streak(),
    }


def _link(record: Record) -> dict[str, Any]:
    over = record.solved_at is not None or record.revealed
    return {"name": record.name, "there": Path(record.workspace).is_dir(), "over": over}


def opened(name: str) -> tuple[Path, Record]:
    """The workspace of that hunt, and its record.

    Raises:
        ValueError: no such hunt, or its workspace is gone or damaged.
    """
    record = records.load(name)
    folder, found = open_workspace(Path(record.workspace))
    if found.name != name:
        raise ValueError(f"{record.workspace} is the workspace of another hunt now: start the case anew")
    return folder, found


def hunt(name: str) -> dict[str, Any]:
    """One hunt as it stands."""
    folder, record = opened(name)
    planted = bugs_of(record)
    known = progress.known(record)
    return {
        "name": name,
        "case": ", ".join(record.bugs) if known else "a drawn case",
        "kinds": [f"{b.level} · {b.component}" for b in planted] if known else [],
        "folder": str(folder),
        "report": (folder / "INCIDENT.md").read_text(encoding="utf-8"),
        "bugs": len(planted),
        "points": points(record),
        "most": most(record),
        "left": max(0.0, most(record) - lost(record)),
        "minutes": record.minutes,
        "taken": record.taken,
        "hints": [[b.hints[number] for b in planted] for number in range(record.hints)],
        "next_hint": HINT_COSTS[record.hints] * most(record) if record.hints < HINTS else None,
        "checks": record.checks,
        "solved": record.solved_at is not None,
        "revealed": record.revealed,
    }


def before(record: Record) -> dict[str, str]:
    """The text files as they were handed out."""
    return handed_out(record.sources, experiments(bugs_of(record)))


def measured(folder: Path) -> list[list[dict[str, str]]]:
    """For each experiment its numbers: of the last run, and those of the report, here and in sound code."""
    reported = _reported((folder / "INCIDENT.md").read_text(encoding="utf-8"))
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return [
            [
                {"number": number, "now": f"{value:.6g}", **rows.get(number, {})}
                for number, value in numbers.items()
            ]
            for numbers, rows in zip(metrics.values(), [*reported, *({} for _ in metrics)], strict=False)
        ]
    except (OSError, ValueError, TypeError, AttributeError):
        return []  # whatever the hunter's code wrote


def _reported(report: str) -> list[dict[str, dict[str, str]]]:
    """The tables of the report, by the name of the number."""
    tables: list[dict[str, dict[str, str]]] = []
    for line in report.splitlines():
        if line.startswith("| number "):
            tables.append({})
        elif tables and (found := ROW.fullmatch(line)):
            tables[-1][found[1]] = {"here": found[2], "sound": found[3]}
    return tables


def figures(folder: Path) -> list[str]:
    """The names of the figures of the last run."""
    return sorted(path.name for path in (folder / "figures").glob("*.png") if FIGURE.fullmatch(path.name))


def figure(folder: Path, name: str, *, reported: bool) -> bytes:
    """A figure as it is now, or as it was `reported`: the last run may have drawn it anew.

    Raises:
        ValueError: there is none of that name.
    """
    path = folder / "figures" / name
    there = (
        FIGURE.fullmatch(name) and path.is_file() and path.resolve() == folder.resolve() / "figures" / name
    )
    if not there or path.stat().st_size > MOST_FIGURE:
        raise ValueError(f"there is no figure {name!r}: expected one of {', '.join(figures(folder))}")
    first = _git(folder, "rev-list", "--max-parents=0", "HEAD").decode().strip() if reported else ""
    return (first and _git(folder, "show", f"{first}:figures/{name}")) or path.read_bytes()


def _git(folder: Path, *words: str) -> bytes:
    """What git says of the workspace; nothing where there is no git."""
    try:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""
