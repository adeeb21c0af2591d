"""The files of a report, by kind."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from trueformer.doctor.html import html
from trueformer.doctor.law_sarif import report_as_sarif
from trueformer.doctor.report import Report
from trueformer.doctor.written import to_json, to_junit, write

WRITERS: dict[str, Callable[[Report], str]] = {
    "html": html,
    "json": to_json,
    "sarif": lambda report: json.dumps(report_as_sarif(report), indent=1),
    "junit": to_junit,
}


def write_reports(report: Report, files: Mapping[str, Path]) -> None:
    """Writes each file that is asked for: `{"html": Path("report.html")}`."""
    for kind, path in files.items():
        write(path, WRITERS[kind](report))
