"""Grades what a candidate hands in while the candidate can still learn from it: within a seal of its own.

A repair runs in the grading process, which has the rights of whoever asks. In this seal it sees the grader, the laws and
the probe of its case, and neither the catalogue (edits, hints, lessons) nor the sound stack, no record and no network;
it can write nothing but the copy that is graded. The grader is the same as ever: it is given a catalogue of one case,
whose texts are empty.
"""

import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trueformer
from trueformer.hunt.bug import CATALOGUE, HINTS, Bug
from trueformer.hunt.grade import Grade, Process, grade
from trueformer.hunt.interviews.handed_in import HandedIn
from trueformer.hunt.plant import write_sources
from trueformer.hunt.sealed import INSIDE, sealed
from trueformer.hunt.workspace import PACKAGE
from trueformer.hunt.workspace_imports import OURS

CASE = "case"  # what the grading process calls it, and its component
EMPTY = f"""
level = "easy"
title = ""
source = ""
report = ""
lesson = ""
laws = []
hints = {[""] * HINTS}
edits = []
repairs = []
refused = []
settings = {{}}
symptom = {{number = "", worse = "higher", margin = 0}}
"""


def grade_sealed(given: HandedIn, case: Bug, before: Mapping[str, str]) -> Grade:
    """The grade of a case; an error where what was handed in cannot be graded."""
    wrong = given.wrong or _missing(given.sources, before)
    if wrong:
        return Grade(repaired={case.id: False}, error=wrong)
    with tempfile.TemporaryDirectory(prefix="hunt-") as temporary:
        copy, tools = Path(temporary) / "copy", Path(temporary) / "tools"
        package = write_sources(given.sources, copy / PACKAGE)
        _write_tools(tools, case)
        command, environment = sealed(
            copy,
            [sys.executable, "-P", "-m", "trueformer.hunt.grader"],
            allow=[tools],
            environment={"PYTHONPATH": str(tools.resolve()), "OMP_NUM_THREADS": "1"},
        )
        result = grade(
            package,
            [dataclasses.replace(case, id=CASE, component=CASE)],
            before,
            process=Process(command=tuple(command), environment=environment, package=f"{INSIDE}/{PACKAGE}"),
        )
    return dataclasses.replace(result, repaired={case.id: result.repaired[CASE]})


def _missing(sources: Mapping[str, str], before: Mapping[str, str]) -> str:
    gone = [path for path in before if path not in sources]
    more = f" and {len(gone) - 1} more files" if gone[1:] else ""
    return f"{PACKAGE}/{gone[0]}{more} is missing: `git checkout -- {PACKAGE}` brings it back" if gone else ""


def _write_tools(folder: Path, case: Bug) -> None:
    """The part of the installed package that grades, with a catalogue of this case."""
    installed, package = Path(trueformer.__file__).parent, folder / "trueformer"
    without = shutil.ignore_patterns("__pycache__", CATALOGUE.name)
    package.mkdir(parents=True)
    shutil.copy(installed / "__init__.py", package)
    for name in sorted(OURS):
        if (installed / name).is_dir():
            shutil.copytree(installed / name, package / name, ignore=without)
        else:
            shutil.copy(installed / f"{name}.py", package)
    catalogue = package / CATALOGUE.relative_to(installed) / CASE
    catalogue.mkdir(parents=True)
    kind = f"kind = {_toml(case.kind)}\n" if case.kind else ""
    (catalogue / f"{CASE}.toml").write_text(kind + EMPTY, encoding="utf-8")
    shutil.copy(case.probe, catalogue / f"{CASE}.py")


def _toml(value: Any) -> str:
    """A value that came from TOML, as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool) else repr(value)
