"""What was found, for people (rich), for programs (JSON) and for code hosts (SARIF)."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from trueformer.doctor.lint.rule import RULES
from trueformer.doctor.lint.run import Hit, Outcome
from trueformer.doctor.sarif import Result

if TYPE_CHECKING:
    from rich.console import Console


def show(console: "Console", outcome: Outcome) -> None:
    """One line a finding and one with its remedy, then what could not be read, then the count."""
    from rich.text import Text

    for hit in outcome.hits:
        style = "cyan" if hit.advice else "bold red"
        said = Text.assemble((hit.place, "bold"), " ", (hit.rule, style), " ", hit.message)
        console.print(said, soft_wrap=True)
        if hit.remedy:
            console.print(Text(f"    {hit.remedy}", style="dim"), soft_wrap=True)
    for failure in outcome.failures:
        console.print(Text(f"{failure.path}: {failure.reason}", style="yellow"), soft_wrap=True)
    console.print(summary(outcome), soft_wrap=True, highlight=False)


def summary(outcome: Outcome) -> str:
    """The counts in one line."""
    advice = sum(hit.advice for hit in outcome.hits)
    found, fixable = len(outcome.hits) - advice, sum(hit.fix is not None for hit in outcome.hits)
    said = f"{_count(found, 'finding')}, {advice} of advice, in {_count(outcome.files, 'file')}"
    said += f"; {fixable} can be fixed by --fix" if fixable else ""
    return said + (f"; {_count(len(outcome.failures), 'problem')} in reading" if outcome.failures else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Everything, as numbers and strings."""
    return {
        "version": 1,
        "status": outcome.status,
        "files": outcome.files,
        "counts": dict(sorted(Counter(hit.rule for hit in outcome.hits).items())),
        "findings": [
            {
                "rule": hit.rule,
                "path": hit.path.as_posix(),
                "cell": hit.cell,
                "line": hit.line,
                "column": hit.column,
                "message": hit.message,
                "remedy": hit.remedy,
                "advice": hit.advice,
                "fixable": hit.fix is not None,
            }
            for hit in outcome.hits
        ],
        "failures": [{"path": f.path.as_posix(), "reason": f.reason} for f in outcome.failures],
    }


def as_results(hits: Iterable[Hit]) -> list[Result]:
    """The findings for SARIF. A notebook's lines count within cells, so those are told in the message."""
    return [
        Result(
            rule_id=hit.rule,
            level="note" if hit.advice else "warning",
            message=_message(hit),
            path=hit.path.as_posix(),
            line=0 if hit.cell else hit.line,
            column=0 if hit.cell else hit.column,
            help=_help(hit.rule),
        )
        for hit in hits
    ]


def _message(hit: Hit) -> str:
    place = f"cell {hit.cell}, line {hit.line}: " if hit.cell else ""
    return f"{place}{hit.message}" + (f"; {hit.remedy}" if hit.remedy else "")


def _help(id: str) -> str:
    law = RULES[id].law if id in RULES else None
    return f"{law.statement}\n\n{law.symptoms}\n\n{law.lesson}" if law else ""
