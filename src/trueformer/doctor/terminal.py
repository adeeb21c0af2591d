"""The report on a terminal: the broken first, then one line a component, then what else could be checked."""

from collections import Counter
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from trueformer.doctor.report import Report, Result, by_component, measured
from trueformer.doctor.words import printable
from trueformer.laws.law import Verdict

STYLES = {
    Verdict.BROKEN: ("✗", "bold red"),
    Verdict.ADVICE: ("✎", "yellow"),
    Verdict.CRASHED: ("!", "bold red"),
    Verdict.TIMED_OUT: ("⧖", "bold red"),
    Verdict.HOLDS: ("✓", "green"),
    Verdict.NOT_APPLICABLE: ("–", "dim"),
    Verdict.NOT_CHECKED: ("?", "yellow"),
}
WIDEST = 110  # longer lines are hard to read


def show(report: Report, console: Console, *, everything: bool = False) -> None:
    """Prints the report; `everything` also gives each law a line."""
    _troubles((*report.broken, *report.advice), report.command, console)
    console.print(_every_law(report) if everything else _components(report))
    console.print(_missing(report))
    for note in report.notes:
        console.print(Text(printable(note), "dim"))
    console.print(_sum(report))


def broken_as_text(report: Report, width: int = 100) -> str:
    """The part of it that tells of what is broken, without colours."""
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as said:
        _troubles(report.broken, report.command, console)
    return said.get()


def again(result: Result, command: str) -> str:
    """What runs only this law."""
    return (
        f"{command} --only {result.law.id}" if command else f"trueformer.check(…, only=[{result.law.id!r}])"
    )


def tally(results: Iterable[Result]) -> str:
    """`12 holds, 1 broken`, in the order of the verdicts."""
    counts = Counter(result.verdict for result in results)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in STYLES if counts[verdict])


def wanted(report: Report) -> list[tuple[str, int]]:
    """What would let more laws be checked, and how many; the most first."""
    counts = Counter(result.reason for result in report.results if result.verdict is Verdict.NOT_CHECKED)
    return counts.most_common()


def _troubles(results: Iterable[Result], command: str, console: Console) -> None:
    for result in results:
        console.print(_trouble(result, command), width=min(WIDEST, console.width))


def _trouble(result: Result, command: str) -> RenderableType:
    mark, style = STYLES[result.verdict]
    title, color = ("advice", "yellow") if result.law.advice else (str(result.verdict), "red")
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, words in _lines(result, command):
        rows.add_row(name, Text(printable(words)))
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
    if result.verdict in (Verdict.BROKEN, Verdict.ADVICE):  # a crash or a hang has causes of its own
        lines += [("it shows as", law.symptoms), ("usual causes", law.causes)]
    lines += [("again", again(result, command)), ("more", f"trueformer explain {law.id}")]
    return [(name, words) for name, words in lines if words]


def _components(report: Report) -> RenderableType:
    """A line a component: how many laws came out which way; only the verdicts that occur have a column."""
    seen = [verdict for verdict in STYLES if report.counts[verdict]]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for verdict in seen:
        table.add_column(str(verdict), justify="right")
    for component, results in by_component(report.results).items():
        counts = Counter(result.verdict for result in results)
        table.add_row(Text(component, "bold"), *(_count(verdict, counts[verdict]) for verdict in seen))
    return table


def _count(verdict: Verdict, n: int) -> Text:
    return Text(f"{STYLES[verdict][0]} {n}", STYLES[verdict][1]) if n else Text("·", "dim")


def _every_law(report: Report) -> RenderableType:
    """Each law on one line, its words cut to the width."""
    longest = max((len(result.law.id) for result in report.results), default=0)
    groups: list[RenderableType] = []
    for component, results in by_component(report.results).items():
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(width=longest, no_wrap=True)
        table.add_column(width=8, justify="right", no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for result in results:
            table.add_row(*_cells(result))
        groups += [Text(component, "bold"), table]
    return Group(*groups)


def _cells(result: Result) -> tuple[Text, ...]:
    mark, style = STYLES[result.verdict]
    number = "" if result.evidence is None else f"{result.evidence.measured:.2g}"
    words = (result.reason.splitlines() or [result.law.statement])[0]
    return Text(mark, style), Text(result.law.id), Text(number, "cyan"), Text(printable(words), "dim")


def _missing(report: Report) -> RenderableType:
    """What was not checked, by the one thing that would allow it."""
    table = Table.grid(padding=(0, 1))
    table.add_column(style="yellow", justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for reason, n in wanted(report):
        table.add_row(f"? {n} not checked:", Text(printable(reason)))
    return table


def _sum(report: Report) -> Text:
    said = (
        f"{printable(report.subject)}: {tally(report.results) or 'no law was run'} in {report.seconds:.1f} s"
    )
    return Text(said, "bold red" if report.exit_status else "bold green")
