"""TrainCheck, as its README says: traces of sound runs, invariants from them, and the violations in another run.

Every step is traced, where its own default in checking is every tenth after ten, and every kind of invariant is
inferred: its best chance. Inferring them takes many minutes of processor time, and each script about one.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from alarms.tool import Alarms, Failed, run

INVARIANTS = "invariants.json"


def prepare(python: str, scripts: Sequence[Path]) -> None:
    """Infers the invariants from runs of sound scripts, and leaves them beside the scripts' folders."""
    traces = [_traced(python, script, []) for script in scripts]
    shared = scripts[0].parent.parent
    infer = [python, "-m", "traincheck.infer_engine", "-f", *traces, "-j", "0"]  # on all cores
    run([*infer, "-o", shared / INVARIANTS], shared)


def alarms(python: str, script: Path) -> Alarms:
    """The invariants that a run of the script violates."""
    invariants = script.parent.parent / INVARIANTS
    if not invariants.exists():
        raise Failed("no invariants: the sound script could not be traced")
    trace = _traced(python, script, ["--invariants", invariants, "--sampling-interval", "1"])
    results = script.parent / "results"
    checker = [python, "-m", "traincheck.checker", "-f", trace, "-i", invariants, "-o", results]
    run([*checker, "--no-html-report"], script.parent)
    text = (results / trace.name / "failed.log").read_text()
    return frozenset(json.dumps(one["invariant"], sort_keys=True) for one in objects(text))


def _traced(python: str, script: Path, options: Sequence[str | Path]) -> Path:
    trace = script.parent / "trace"
    collect = [python, "-m", "traincheck.collect_trace", "--pyscript", script, "--models-to-track", "model"]
    run([*collect, *options, "--output-dir", trace], script.parent)
    return trace


def objects(text: str) -> list[dict]:
    """The JSON objects that stand one after another, each beginning at the start of a line."""
    return [json.loads(part) for part in re.split(r"^(?=\{)", text, flags=re.MULTILINE) if part.strip()]
