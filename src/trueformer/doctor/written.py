"""The report for programs: JSON with a version of its shape, JUnit for servers that count tests; and files written whole.

write(Path("report.json"), to_json(report))
"""

import json
import math
import os
import platform
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import trueformer
from trueformer.doctor.report import Report, Result
from trueformer.doctor.words import printable
from trueformer.laws.law import Law, Verdict

SCHEMA_VERSION = 1  # one more whenever a field goes away or changes its meaning
LAW_FIELDS = (
    "id", "component", "statement", "source", "looks", "tolerance", "symptoms", "causes", "needs", "advice", "deep",
)  # fmt: skip


def versions() -> dict[str, str]:
    """What the laws were run by."""
    return {
        "trueformer": trueformer.__version__,
        "torch": version("torch"),
        "python": platform.python_version(),
    }


def to_json(report: Report) -> str:
    """All results with what their laws say; numbers that are not finite are the strings "nan", "inf" and "-inf"."""
    said = {
        "schema": "trueformer-check",
        "schema_version": SCHEMA_VERSION,
        "subject": report.subject,
        "command": report.command,
        "exit_status": report.exit_status,
        "seconds": report.seconds,
        "versions": versions(),
        "counts": {str(verdict): report.counts[verdict] for verdict in Verdict},
        "notes": list(report.notes),
        "results": [_result(result) for result in report.results],
    }
    return json.dumps(_finite(said), indent=1, allow_nan=False)


def _result(result: Result) -> dict[str, Any]:
    return {
        "law": law_texts(result.law),
        "verdict": str(result.verdict),
        "fails": result.fails,
        "reason": result.reason,
        "at": result.at,
        "seconds": result.seconds,
        "evidence": None if result.evidence is None else asdict(result.evidence),
    }


def law_texts(law: Law) -> dict[str, Any]:
    """What a law says, without its probe."""
    return {name: getattr(law, name) for name in LAW_FIELDS}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, str | bool | int | None):
        return value
    return float(value) if math.isfinite(value) else str(float(value))


def to_junit(report: Report) -> str:
    """A test case a law: broken is a failure, a crash or a time-out is an error, what was not judged is skipped."""
    fails = [result for result in report.results if result.fails]
    failures = sum(result.verdict is Verdict.BROKEN for result in fails)
    skipped = report.counts[Verdict.NOT_APPLICABLE] + report.counts[Verdict.NOT_CHECKED]
    counts = {
        "tests": len(report.results),
        "failures": failures,
        "errors": len(fails) - failures,
        "skipped": skipped,
    }
    said = {name: str(n) for name, n in counts.items()} | {"time": f"{report.seconds:.3f}"}
    whole = ElementTree.Element("testsuites", said)
    suite = ElementTree.SubElement(whole, "testsuite", said | {"name": printable(report.subject)})
    for result in report.results:
        suite.append(_test_case(result))
    return ElementTree.tostring(whole, encoding="unicode", xml_declaration=True)


def _test_case(result: Result) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase",
        {
            "classname": f"trueformer.{result.law.component}",
            "name": result.law.id,
            "time": f"{result.seconds:.3f}",
        },
    )
    kind = _junit_kind(result)
    if kind:
        first = printable(result.line).splitlines()[0]
        told = ElementTree.SubElement(case, kind, {} if kind == "system-out" else {"message": first})
        if kind in ("failure", "error"):
            told.set("type", str(result.verdict))
        told.text = printable(
            "\n".join([result.line, result.law.statement, result.law.symptoms, result.law.causes])
        )
    return case


def _junit_kind(result: Result) -> str:
    if result.verdict in (Verdict.NOT_APPLICABLE, Verdict.NOT_CHECKED):
        return "skipped"
    if result.fails:
        return "failure" if result.verdict is Verdict.BROKEN else "error"
    return "" if result.verdict is Verdict.HOLDS else "system-out"  # advice


def writable(path: Path) -> None:
    """Makes the folder and tries to write in it, so that a mistake shows before minutes of work and not after.

    Raises:
        ValueError: nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        why = error.strerror or str(error)
        raise ValueError(
            f"cannot write {path} ({why}): expected the name of a file in a folder of yours"
        ) from error


def write(path: Path, text: str) -> None:
    """Writes the file whole or not at all: a reader never sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """What new files are not allowed; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
