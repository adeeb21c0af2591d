"""Grades a workspace in a process of its own: every law over small runs of its stack, and the hidden probes.

    python -m trueformer.hunt.grader      # a job as JSON on stdin; what was found as JSON on the descriptor it names

The laws, the subject and the probes are the installed package's; only the stack is the hunter's. Leaves out limits and
scores, which are the parent's (`grade.py`).
"""

import importlib.util
import json
import os
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # wraps functions of torch when it is first imported, which is nobody's cheating

from trueformer.doctor.report import Result
from trueformer.doctor.runner import told
from trueformer.hunt.bug import Bug, bug
from trueformer.hunt.guard import Untouched, no_network
from trueformer.hunt.workspace_imports import WorkspaceImports
from trueformer.laws.law import Verdict

USUAL = {"document_mask": True}
WIDTHS = ((32, 4, 2), (32, 2, 2), (48, 4, 4), (48, 6, 2))  # d_model, heads, key heads
PROBES = 3  # times each, with other shapes
NAMED = 100  # changes of torch, the laws and the grader that are told; an answer fits into a pipe
BAD = (Verdict.BROKEN, Verdict.CRASHED, Verdict.TIMED_OUT)


class _Enough(Exception):
    """Something is broken, and whoever asks wants to know no more."""


def graded(
    package: Path,
    bugs: Sequence[Bug],
    seed: int,
    *,
    until_broken: bool = False,
    kinds: Sequence[dict[str, Any]] | None = None,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """What holds and what does not: `broken` (law ids), `probes` (ids of bugs whose probe fails), `touched`, `error`.

    `until_broken`: stops at the first of either. `kinds`: the small runs to judge, in the place of those of the bugs;
    `only`: the laws or components to judge, where not all.
    """
    untouched = Untouched()
    sys.meta_path.insert(0, WorkspaceImports(package))
    warnings.simplefilter("ignore")
    found: dict[str, Any] = {"broken": [], "probes": [], "touched": [], "error": "", "held": 0}

    def note(result: Result) -> None:
        found["held"] += result.verdict == Verdict.HOLDS
        if result.verdict in BAD and result.law.id not in found["broken"]:
            found["broken"].append(result.law.id)
            if until_broken:
                raise _Enough

    try:
        pick = random.Random(seed)
        found["probes"] = [planted.id for planted in bugs if not _passes(planted, pick)]
        if not (until_broken and found["probes"]):
            _judge(_kinds(bugs) if kinds is None else kinds, pick, note, only)
    except _Enough:
        pass
    except BaseException as error:  # noqa: BLE001 - an import that fails, a model that cannot be made: the hunter is told
        found["error"] = (
            told(error) if isinstance(error, Exception) else traceback.format_exception_only(error)[-1]
        )
    found["touched"] = untouched.changes()[:NAMED]
    return found


def _judge(
    kinds: Sequence[dict[str, Any]], pick: random.Random, note: Callable[[Result], None], only: Sequence[str]
) -> None:
    """Every law over small runs of the workspace's stack."""
    from trueformer.doctor.check import check
    from trueformer.hunt.subject import stack

    for kind in kinds:
        torch.manual_seed(pick.randrange(2**31))
        check(**stack(**_drawn(kind, pick)), done=note, only=only)


def _kinds(bugs: Sequence[Bug]) -> list[dict[str, Any]]:
    """The small runs that the laws see: the usual one, and those in which the bugs show."""
    kinds = [USUAL]
    for planted in bugs:
        if planted.kind and planted.kind not in kinds:
            kinds.append(planted.kind)
    return kinds


def _drawn(kind: dict[str, Any], pick: random.Random) -> dict[str, Any]:
    """A run of that kind with other sizes and another seed, so that no shape can be known beforehand."""
    width, heads, kv_heads = pick.choice(WIDTHS)
    sizes = {"d_model": width, "n_heads": heads, "n_kv_heads": kv_heads, "n_layers": pick.choice((2, 3))}
    return {**sizes, **kind, "loop": {**kind.get("loop", {}), "seed": pick.randrange(2**16)}}


def _passes(planted: Bug, pick: random.Random) -> bool:
    """Whether the hidden probe of a bug finds its behaviour, some times over."""
    spec = importlib.util.spec_from_file_location(f"_probe_of_{planted.id.replace('-', '_')}", planted.probe)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        for _ in range(PROBES):
            torch.manual_seed(pick.randrange(2**31))
            module.probe(random.Random(pick.random()))
    except Exception:  # noqa: BLE001 - whatever the hunter's code does in it, the behaviour is not there
        return False
    return True


def main() -> int:
    """One job."""
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    no_network()
    found = graded(Path(job["package"]), [bug(id) for id in job["bugs"]], job["seed"])
    with os.fdopen(job["answer"], "w") as answer:
        json.dump({**found, "nonce": job["nonce"]}, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
