"""SARIF 2.1.0: findings as code hosts and editors read them.

    json.dumps(sarif([Result(rule_id="source/unsafe-load", level="error", message="…", path="a.py", line=3)]))

Leaves out code flows, fixes and everything else that is optional.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import PurePath
from typing import Any, Literal
from urllib.parse import quote

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One finding: line and column count from 1, 0 where there is none; `help` is the lesson of its rule."""

    rule_id: str
    level: Literal["error", "warning", "note"]
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    help: str = ""


def sarif(results: Iterable[Result]) -> dict[str, Any]:
    """One run of trueformer as a SARIF log, each rule described once."""
    found = list(results)
    helps = {result.rule_id: result.help for result in found}
    ids = sorted(helps)
    driver = {
        "name": "trueformer",
        "version": version("trueformer"),
        "rules": [_rule(id, helps[id]) for id in ids],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(result, ids.index(result.rule_id)) for result in found],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(id: str, text: str) -> dict[str, Any]:
    described = {"shortDescription": {"text": text.split("\n\n")[0]}, "help": {"text": text}} if text else {}
    return {"id": id, **described}


def _result(result: Result, index: int) -> dict[str, Any]:
    said = {
        "ruleId": result.rule_id,
        "ruleIndex": index,
        "level": result.level,
        "message": {"text": result.message},
    }
    return said | ({"locations": [_location(result)]} if result.path else {})


def _location(result: Result) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(result.path)}}
    if result.line:
        region = {"startLine": result.line} | ({"startColumn": result.column} if result.column else {})
        physical["region"] = region
    return {"physicalLocation": physical}


def _uri(path: str) -> str:
    """A relative path as a relative reference, an absolute one as a file URI."""
    pure = PurePath(path)
    return pure.as_uri() if pure.is_absolute() else quote(pure.as_posix())
