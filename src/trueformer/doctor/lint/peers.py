"""Other people's linters, run beside ours: TorchFix and torch-preflight, findings under their own names.

They have rules that are not written again here: TG001 (graphs kept in lists), TG005 and TG006 (softmax or
sigmoid before a loss that has its own), TG012 (samplers under DDP), TOR0 and TOR1 (removed and deprecated
functions).
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from trueformer.doctor.lint.run import Failure, Hit, Outcome

INSTALL = "it is not installed: pip install 'trueformer[lint]'"
TORCHFIX = re.compile(
    r"^(?P<path>.+?):(?P<line>\d+):(?P<column>\d+): (?P<rule>TOR\d+) (?:\[\*\] )?(?P<message>.*)$"
)
SECONDS = 600


def with_peers(outcome: Outcome, paths: Sequence[Path]) -> Outcome:
    """An outcome with what the two others find; one that is missing or fails is among the failures."""
    hits, failures = list(outcome.hits), list(outcome.failures)
    for name, module, run in (
        ("torchfix", "torchfix", _torchfix),
        ("torch-preflight", "torch_preflight", _torch_preflight),
    ):
        if find_spec(module) is None:
            failures.append(Failure(path=Path(name), reason=INSTALL))
            continue
        try:
            hits += run(paths)
        except (ValueError, KeyError, subprocess.TimeoutExpired) as error:
            failures.append(Failure(path=Path(name), reason=f"it could not be run: {error}"))
    hits.sort(key=lambda hit: (str(hit.path), hit.cell, hit.line, hit.column))
    return Outcome(hits=tuple(hits), failures=tuple(failures), files=outcome.files)


def _torchfix(paths: Sequence[Path]) -> list[Hit]:
    said = _said(["torchfix", "--jobs", "1", *map(str, paths)])
    found = [match for line in said.splitlines() if (match := TORCHFIX.match(line))]
    return [
        Hit(
            rule=f"torchfix/{one['rule']}",
            message=one["message"],
            remedy="",
            path=Path(one["path"]),
            line=int(one["line"]),
            column=int(one["column"]),
        )
        for one in found
    ]


def _torch_preflight(paths: Sequence[Path]) -> list[Hit]:
    said = _said(["torch_preflight", "check", "--format", "json", "--jobs", "1", *map(str, paths)])
    return [
        Hit(
            rule=f"torch-preflight/{one['code']}",
            message=one["message"],
            remedy=one["hint"] or "",
            path=Path(one["path"]),
            line=one["line"],
            column=one["column"],
            advice=one["severity"] == "note",
        )
        for one in json.loads(said)["diagnostics"]
    ]


def _said(command: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    if done.returncode not in (0, 1):
        raise ValueError(
            done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}"
        )
    return done.stdout
