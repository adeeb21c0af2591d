"""What a hunter has done so far: a table, points, the streak, and a file of it to take along.

Leaves out how points are counted (`score.py`).
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from trueformer.hunt import record as records
from trueformer.hunt.bug import LEVELS
from trueformer.hunt.record import Record
from trueformer.hunt.score import most, points


def progress(export: Path | None) -> int:
    """Prints a table of all hunts; returns 0.

    Raises:
        ValueError: the file to export to is there, or is neither JSON nor CSV.
    """
    from trueformer.commands.show import table

    rows = [row(record) for record in records.every()]
    if export is not None:
        _export(rows, export)
    if not rows:
        Console().print("no hunt yet: `trueformer hunt start` begins one", highlight=False)
        return 0
    table(rows)
    total = sum(row["points"] for row in rows)
    by_level = ", ".join(f"{count} {level}" for level, count in solved().items())
    Console().print(f"{total:.0f} points · solved: {by_level} · streak {streak()}", highlight=False)
    return 0


def solved() -> dict[str, int]:
    """How many cases of each level are solved; each counts once."""
    done = [record for record in records.every() if record.solved_at]
    levels = {id: level for record in done for id, level in zip(record.bugs, record.levels, strict=True)}
    return {level: list(levels.values()).count(level) for level in LEVELS}


def known(record: Record) -> bool:
    """Whether the hunter may be told which case it is."""
    return record.shown or record.solved_at is not None or record.revealed


def row(record: Record) -> dict[str, Any]:
    """One hunt in words and numbers; a drawn case is not named before it is known."""
    state = (
        "solved"
        if record.solved_at
        else "given up"
        if record.revealed
        else f"{len(record.repaired)}/{len(record.bugs)}"
    )
    return {
        "case": ", ".join(record.bugs)
        if known(record)
        else f"drawn, {len(record.bugs)} bug{'s' if record.bugs[1:] else ''}",
        "state": state,
        "points": round(points(record), 1),
        "of": most(record),
        "time": span(record.taken) if record.solved_at else "",
        "hints": record.hints,
        "checks": record.checks,
        "workspace": record.workspace,
    }


def streak() -> int:
    """How many of the latest hunts in a row were solved."""
    count = 0
    for record in reversed([r for r in records.every() if r.solved_at or r.revealed]):
        if not record.solved_at:
            break
        count += 1
    return count


def _export(rows: list[dict[str, Any]], path: Path) -> None:
    if path.suffix not in (".json", ".csv"):
        raise ValueError(f"{path}: expected a name that ends in .json or .csv")
    if path.exists():
        raise ValueError(f"{path} is there already: it is not overwritten; give another name")
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys() if rows else ["case"])
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def span(seconds: int | float) -> str:
    """Minutes and seconds: "7:24"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
