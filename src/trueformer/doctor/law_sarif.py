"""A report as SARIF 2.1.0, for code hosts: each law a rule with its help, what is wrong a result at a place.

json.dumps(report_as_sarif(report))
"""

from pathlib import Path
from typing import Any

from trueformer.doctor.report import Report
from trueformer.doctor.report import Result as Judged
from trueformer.doctor.sarif import Result, sarif
from trueformer.doctor.words import printable
from trueformer.laws.law import Law


def report_as_sarif(report: Report) -> dict[str, Any]:
    """The log: results for what fails and for advice, rules for every law that was run."""
    target = target_file(report.subject)
    log = sarif(_found(result, target) for result in (*report.broken, *report.advice))
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    named = {rule["id"] for rule in rules}
    laws = [result.law for result in report.results if result.law.id not in named]
    rules += [_rule(law) for law in laws]
    return log


def target_file(subject: str) -> str:
    """The file that `mymodel.py:build` names; nothing where the subject is no file, as `hf:folder` is none."""
    place = subject.rpartition(":")[0]
    return place if place.endswith(".py") else ""


def _found(result: Judged, target: str) -> Result:
    path, _, line = result.at.rpartition(":")
    return Result(
        rule_id=result.law.id,
        level="error" if result.fails else "note",
        message=printable(result.line),
        path=_relative(path) if path else target,
        line=int(line) if path else 1 if target else 0,
        help=_help(result.law),
    )


def _relative(path: str) -> str:
    """Below the folder we are in where it lies there, as code hosts want it."""
    place, here = Path(path).resolve(), Path.cwd().resolve()
    return place.relative_to(here).as_posix() if place.is_relative_to(here) else str(place)


def _rule(law: Law) -> dict[str, Any]:
    text = _help(law)
    return {"id": law.id, "shortDescription": {"text": law.statement}, "help": {"text": text}}


def _help(law: Law) -> str:
    said = [
        law.statement,
        f"It shows as: {law.symptoms}",
        f"Usual causes: {law.causes}",
        f"Source: {law.source}",
    ]
    return "\n\n".join([*said, f"More: trueformer explain {law.id}"])
