"""The three faces of the doctor: check with a few lines about the script, lint and watch with the script alone."""

import json
import shutil
from pathlib import Path

from alarms.tool import Alarms, counted, run

PARTS = Path(__file__).parent.parent.parent / "tests" / "subjects" / "nanogpt_style_parts.py"
BAD = ("broken", "crashed", "timed out")


def check(python: str, script: Path) -> Alarms:
    """The laws that `trueformer check` finds broken in the script's model and its other parts."""
    shutil.copy(PARTS, script.parent)
    target, report = f"{PARTS.name}", script.parent / "check.json"
    command = [python, "-m", "trueformer", "check", f"{target}:model", "--train", f"{target}:parts"]
    run([*command, "--json", report], script.parent, allowed=(0, 1))
    results = json.loads(report.read_text())["results"]
    return counted(one["law"]["id"] for one in results if one["verdict"] in BAD)


def lint(python: str, script: Path) -> Alarms:
    """The source rules that `trueformer lint` finds broken."""
    report = script.parent / "lint.json"
    run([python, "-m", "trueformer", "lint", script, "--json", report], script.parent, allowed=(0, 1))
    return counted(one["rule"] for one in json.loads(report.read_text())["findings"])


def watch(python: str, script: Path) -> Alarms:
    """The live laws that break while the script runs."""
    report = script.parent / "watch.json"
    run([python, "-m", "trueformer.watch", "--json", report, script], script.parent, allowed=(0, 1))
    return counted(one["law"] for one in json.loads(report.read_text())["laws"] if one["verdict"] in BAD)
