"""The report on a terminal: the broken first, each with its numbers, why it matters and what usually causes it."""

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from trueformer.doctor.report import Report, Result, by_component, measured
from trueformer.laws.law import Verdict

STYLES = {
    Verdict.HOLDS: ("✓", "green"),
    Verdict.BROKEN: ("✗", "bold red"),
    Verdict.CRASHED: ("!", "bold red"),
    Verdict.TIMED_OUT: ("⧖", "bold red"),
    Verdict.NOT_APPLICABLE: ("–", "dim"),
    Verdict.NOT_CHECKED: ("?", "yellow"),
}


def show(report: Report, console: Console, *, everything: bool = False) -> None:
    """Prints the report; `everything` also lists each law that holds or does not apply."""
    for result in (*report.broken, *report.advice):
        console.print(_trouble(result, report.command))
    if everything:
        console.print(_table(report))
    console.print(_missing(report), end="")
    console.print(_sum(report))


def _trouble(result: Result, command: str) -> RenderableType:
    mark, style = STYLES[result.verdict]
    title = "advice" if result.law.advice else str(result.verdict)
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, words in _lines(result, command):
        rows.add_row(name, Text(words))
    color = "yellow" if result.law.advice else "red"
    heading = Text.assemble(
        (f"{mark} {result.law.id} ", "yellow" if result.law.advice else style), (title, color)
    )
    return Panel(rows, title=heading, title_align="left", border_style=color, padding=(0, 1))


def _lines(result: Result, command: str) -> list[tuple[str, str]]:
    law, evidence = result.law, result.evidence
    lines = [("law", law.statement)]
    if evidence is not None:
        lines.append(("measured", measured(evidence)))
        lines.append(("where", evidence.where))
        lines.append(("seen", evidence.saw))
    lines.append(("because", result.reason))
    lines += [("it shows as", law.symptoms), ("usual causes", law.causes)]
    lines.append(("again", f"{command} --only {law.id}" if command else f"only=[{law.id!r}]"))
    lines.append(("more", f"trueformer explain {law.id}"))
    return [(name, words) for name, words in lines if words]


def _table(report: Report) -> RenderableType:
    groups: list[RenderableType] = []
    for component, results in by_component(report.results).items():
        table = Table.grid(padding=(0, 1))
        for result in results:
            mark, style = STYLES[result.verdict]
            words = result.reason.splitlines()[0] if result.reason else result.law.statement
            number = "" if result.evidence is None else f"{result.evidence.measured:.2g}"
            table.add_row(Text(mark, style), result.law.id, Text(number, "cyan"), Text(words, "dim"))
        groups += [Text(component, "bold"), Padding(table, (0, 0, 0, 2))]
    return Group(*groups)


def _missing(report: Report) -> RenderableType:
    """What was not checked, by the one thing that would allow it."""
    wanted: dict[str, int] = {}
    for result in report.results:
        if result.verdict is Verdict.NOT_CHECKED:
            wanted[result.reason] = wanted.get(result.reason, 0) + 1
    lines = [
        f"? {n} not checked: {reason}\n" for reason, n in sorted(wanted.items(), key=lambda item: -item[1])
    ]
    return Text("".join(lines), "yellow")


def _sum(report: Report) -> Text:
    said = [f"{n} {verdict}" for verdict, n in report.counts.items() if n]
    style = "bold red" if report.broken else "bold green"
    return Text(f"{report.subject}: {', '.join(said)} in {report.seconds:.1f} s", style)
