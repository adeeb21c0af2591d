"""The report as one HTML file that needs nothing else: no network, no script, no font; light, dark, narrow and printed.

    Path("report.html").write_text(html(report))

The template is `report.html` beside this file; jinja2 escapes whatever goes into it.
"""

import base64
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from trueformer.doctor.html_figures import bar, drawn
from trueformer.doctor.report import Report, Result, by_component, measured
from trueformer.doctor.terminal import again, tally, wanted
from trueformer.doctor.words import printable
from trueformer.doctor.written import versions
from trueformer.laws.law import Verdict

HERE = Path(__file__).parent


def html(report: Report) -> str:
    """The whole page."""
    style = (HERE / "report.css").read_text(encoding="utf-8")
    return _page().render(
        report=report,
        style=Markup(style),
        style_hash=style_hash(style),
        headline=headline(report),
        groups=by_component(report.results),
        versions=versions(),
        again=again,
        kind=_kind,
    )


def headline(report: Report) -> str:
    """What came out, in a few words."""
    breaks, failed = report.counts[Verdict.BROKEN], len(report.broken)
    if failed == 0:
        return "No law is broken" if report.exit_status == 0 else "No law could be judged"
    said = [f"{breaks} law{'s' * (breaks != 1)} broken"] if breaks else []
    stopped = failed - breaks
    return ", ".join(said + ([f"{stopped} could not be finished"] if stopped else []))


def _page() -> jinja2.Template:
    templates = environment(HERE)
    templates.filters |= {
        "measured": measured,
        "bar": bar,
        "drawn": drawn,
        "tally": tally,
        "wanted": wanted,
    }
    return templates.get_template("report.html")


def environment(folder: Path) -> jinja2.Environment:
    """The templates of a folder; whatever goes into them is made printable and escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )


def _kind(result: Result) -> str:
    """The class of a result in the page's style."""
    if result.fails or result.verdict is Verdict.HOLDS:
        return "bad" if result.fails else "good"
    return "advice" if result.law.advice and result.verdict is not Verdict.NOT_APPLICABLE else "quiet"


def style_hash(text: str) -> str:
    """What a content security policy calls this text, so that no other style is let in."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
