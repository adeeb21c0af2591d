"""What the user sees: a line when a law breaks, a table at the end, and the same as JSON."""

import json
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trueformer.doctor.watch.monitor import Monitor
from trueformer.doctor.watch.rule import Break
from trueformer.laws.law import Verdict

WIDTH = 110  # where the terminal's is not known


class Terminal:
    """Writes to standard error, so that what the script prints stays its own."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        if not self.console.is_terminal:
            self.console.width = WIDTH

    def tell(self, found: Break) -> None:
        """One law's first break, as it happens."""
        word = "[yellow]advice[/yellow]" if found.law.advice else "[bold red]broken[/bold red]"
        at = f" at {escape(found.place)}" if found.place else ""
        where = f" ({escape(found.evidence.where)})" if found.evidence.where else ""
        self.console.print(
            f"watch: step {found.step}: {found.law.id} {word}{at}{where}: {escape(found.evidence.saw)}",
            soft_wrap=True,
        )

    def summary(self, monitor: Monitor, seconds: float) -> None:
        """What broke as a table; the names of what holds, and of what could not be judged and why."""
        told = rows(monitor)
        broken, advice = len(monitor.broken), len(monitor.first) - len(monitor.broken)
        self.console.print(
            f"watch: {monitor.run.done} steps in {seconds:.1f} s: {broken} broken, {advice} advised",
            style="bold",
        )
        if monitor.first:
            self.console.print(_table([row for row in told if row["verdict"] is Verdict.BROKEN]))
        for verdict in (Verdict.HOLDS, Verdict.NOT_APPLICABLE):
            names = [row["law"].removeprefix("live/") for row in told if row["verdict"] is verdict]
            if names:
                self.console.print(f"{verdict}: {', '.join(names)}", style="dim")
        for name, error in monitor.failures.items():
            self.console.print(f"{name} could not be judged: {escape(error)}", style="yellow")
        if monitor.first:
            self.console.print(
                f"`trueformer explain {next(iter(monitor.first))}` says what usually breaks it"
            )


def _table(told: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE)
    for column in ("law", "verdict", "first at", "times"):
        table.add_column(column, no_wrap=True)
    table.add_column("where and what was seen", overflow="fold")
    for row in sorted(told, key=lambda row: row["advice"]):
        verdict = "advice" if row["advice"] else "broken"
        where = " ".join(part for part in (row["place"], row["where"]) if part)
        seen = escape(f"{where}: {row['saw']}" if where else row["saw"])
        style = "yellow" if row["advice"] else "bold red"
        table.add_row(row["law"], f"[{style}]{verdict}[/]", f"step {row['step']}", str(row["times"]), seen)
    return table


def rows(monitor: Monitor) -> list[dict[str, Any]]:
    """One dictionary a law, ready for JSON."""
    return [_row(monitor, rule.law.id) for rule in monitor.rules]


def _row(monitor: Monitor, id: str) -> dict[str, Any]:
    rule = next(rule for rule in monitor.rules if rule.law.id == id)
    verdict = monitor.verdict(rule)
    row: dict[str, Any] = {"law": id, "verdict": verdict, "advice": rule.law.advice}
    found = monitor.first.get(id)
    if found is None:
        return row | {"why": _why(monitor, id, verdict, rule.unjudged)}
    evidence = found.evidence
    return row | {
        "step": found.step,
        "times": monitor.counts[id],
        "place": found.place,
        "where": evidence.where,
        "saw": evidence.saw,
        "measured": evidence.measured,
        "bound": evidence.bound,
    }


def _why(monitor: Monitor, id: str, verdict: Verdict, unjudged: str) -> str:
    if verdict is Verdict.CRASHED:
        return monitor.failures[id]
    return unjudged if verdict is Verdict.NOT_APPLICABLE else ""


def write_json(path: Path, monitor: Monitor, command: list[str], exit_status: int) -> None:
    """The report as a file."""
    report = {
        "command": command,
        "steps": monitor.run.done,
        "exit_status": exit_status,
        "laws": rows(monitor),
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
