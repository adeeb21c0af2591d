"""An interview's report as one HTML file that needs nothing else: no network, no script; light, dark, narrow, printed."""

import dataclasses
import re
import time
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from trueformer.doctor import html as doctors
from trueformer.doctor.words import printable
from trueformer.hunt.interviews.report import Report
from trueformer.hunt.progress import span

HERE = Path(__file__).parent
KINDS = {"solved": "good", "partly": "advice", "not solved": "bad"}


def page(report: Report) -> str:
    """The whole page."""
    style = "".join(
        path.read_text(encoding="utf-8") for path in (doctors.HERE / "report.css", HERE / "report.css")
    )
    templates = doctors.environment(HERE)
    templates.filters |= {
        "prose": prose,
        "span": span,
        "day": day,
        "number": _number,
        "kind": KINDS.__getitem__,
    }
    return templates.get_template("report.html").render(
        report=report, style=Markup(style), style_hash=doctors.style_hash(style), headline=headline(report)
    )


def headline(report: Report) -> str:
    """What came out, in a few words."""
    return f"{report.solved} of {len(report.cases)} solved, {_number(report.points)} of {report.of} points"


def as_data(report: Report) -> dict[str, Any]:
    """Everything as JSON has it, with the totals."""
    cases = [{**dataclasses.asdict(case), "checks": case.checks} for case in report.cases]
    totals = {"solved": report.solved, "points": report.points, "of": report.of}
    return {**dataclasses.asdict(report), "cases": cases, "totals": totals}


def day(seconds: int | float) -> str:
    """Seconds since 1970 as a local date and time: "2026-01-05 09:00"."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def prose(text: str) -> Markup:
    """Paragraphs, with `code` between backquotes."""
    paragraphs = [str(escape(printable(part))) for part in re.split(r"\n\s*\n", text.strip())]
    coded = [re.sub("`([^`]+)`", r"<code>\1</code>", part) for part in paragraphs]
    return Markup("".join(f"<p>{part}</p>" for part in coded))


def _number(value: int | float) -> str:
    return f"{value:.1f}".removesuffix(".0")
