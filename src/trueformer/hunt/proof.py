"""Proves bugs of the catalogue: each breaks what it says and nothing else, shows, and is graded as it should be.

    python -m trueformer.hunt.proof tunnel-vision       # what is not so, and what was measured
    python -m trueformer.hunt.proof --draws 8           # whether each bug shows in every draw of shapes and seeds
    python -m trueformer.hunt.proof --sound             # the sound project, in every kind of run that a bug asks for

Everything runs in processes of its own that have imported torch and the laws, and nothing of the stack.
"""

import argparse
import functools
import json
import multiprocessing
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from trueformer.hunt.bug import Bug, bug, bugs
from trueformer.hunt.edits import Sources
from trueformer.hunt.grader import USUAL
from trueformer.hunt.guard import reaching
from trueformer.hunt.plant import planted, repaired, write_sources
from trueformer.hunt.project import project
from trueformer.laws.book import laws

SEEDS = (1, 2)
PRELOADED = [
    "torch",
    "torch._dynamo",
    "numpy",
    "trueformer.hunt.grader",
    "trueformer.doctor.check",
    "trueformer.hunt.preload",
]


def prove(planted_bug: Bug, *, quick: bool = False) -> list[str]:
    """What of the proof fails; nothing where it stands.

    `quick`: a right repair is held to the laws that the bug broke and to those of its component, not to all of them.
    """
    sources = planted([planted_bug])
    broken, wrong = _breaks(planted_bug, sources)
    only = (planted_bug.component, *broken) if quick else ()
    return [*wrong, *_repairs(planted_bug, sources, only), *_shows(planted_bug, sources)]


def prove_sound(kinds: list[dict[str, Any]], draw: int = 0) -> list[str]:
    """What the grader has against the sound project in these kinds of runs; nothing where it is just."""
    found = _graded(project(), [b.id for b in bugs().values()], kinds=kinds, draw=draw)
    return [f"{name}: {found[name]}" for name in ("broken", "probes", "touched", "error") if found[name]]


def prove_always(planted_bug: Bug, draws: int) -> list[str]:
    """In which of so many draws a law that the bug names holds, or its probe passes; none where it always shows."""
    sources, id = planted([planted_bug]), planted_bug.id
    wrong = []
    for draw in range(1, draws + 1):
        found = _graded(sources, [id], only=planted_bug.laws or (planted_bug.component,), draw=draw)
        held = [law for law in planted_bug.laws if law not in found["broken"]]
        held += [] if id in found["probes"] else ["its probe"]
        wrong += [f"draw {draw}: {', '.join(held)}"] if held else []
    return wrong


def _breaks(planted_bug: Bug, sources: Sources) -> tuple[list[str], list[str]]:
    """The laws that are broken, and what is not as it should be."""
    found = _graded(sources, [planted_bug.id])
    broken, wrong = found["broken"], []
    if found["error"]:
        wrong.append(f"the planted project cannot be graded: {found['error']}")
    wrong += [f"does not break {law}" for law in planted_bug.laws if law not in broken]
    strange = [
        law for law in broken if law.split("/")[0] not in (planted_bug.component, *planted_bug.follows)
    ]
    wrong += [f"breaks {law}, of a component that is neither its own nor in `follows`" for law in strange]
    if planted_bug.laws and planted_bug.laws[0].split("/")[0] != planted_bug.component:
        wrong.append(f"the first law, {planted_bug.laws[0]}, is not of {planted_bug.component}")
    if planted_bug.id not in found["probes"]:
        wrong.append("its probe passes on the planted project")
    if wrong:
        wrong.append(f"(broken: {', '.join(broken) or 'nothing'})")
    return broken, wrong


def _repairs(planted_bug: Bug, sources: Sources, only: tuple[str, ...]) -> list[str]:
    wrong = []
    for repair in planted_bug.repairs:
        after = repaired([planted_bug], repair.edits)
        found = _graded(after, [planted_bug.id], only=only)
        against = [
            found["broken"],
            found["probes"],
            found["touched"],
            found["error"],
            reaching(sources, after),
        ]
        if any(against):
            wrong.append(f"a right repair is refused ({repair.why}): {against}")
    tries = {f"a wrong repair ({r.why})": repaired([planted_bug], r.edits) for r in planted_bug.refused}
    tries |= {f"a repair that plants {b.id}": planted([b]) for b in _breakers(planted_bug)}
    for name, after in tries.items():
        found = _graded(after, [planted_bug.id], until_broken=True)
        if not (found["broken"] or found["probes"] or found["error"]):
            wrong.append(f"{name} is accepted")
    if not (planted_bug.repairs and planted_bug.refused):
        wrong.append("needs a right repair and a wrong one")
    return wrong


def _breakers(planted_bug: Bug) -> list[Bug]:
    """A bug of another component: planted in sound code, it is a repair that breaks something else.

    One of those whose laws stand first in the book and show in the usual run, so that it is soon seen.
    """
    order = {law.id: place for place, law in enumerate(laws())}
    others = [b for b in bugs().values() if b.component != planted_bug.component and not b.kind and b.laws]
    early = sorted(others, key=lambda b: order[b.laws[0]])[:5]
    return early[sum(map(ord, planted_bug.id)) % len(early) :][:1] if early else []


def _shows(planted_bug: Bug, sources: Sources) -> list[str]:
    symptom = planted_bug.symptom
    here, sound = (
        _mean(measured(code, planted_bug.settings), symptom.number) for code in (sources, project())
    )
    gap = here - sound if symptom.worse == "higher" else sound - here
    print(f"{planted_bug.id}: {symptom.number} {here:.4g}, sound {sound:.4g}", file=sys.stderr)
    if gap >= symptom.margin:
        return []
    return [
        f"{symptom.number} is {here:.6g}, sound {sound:.6g}: expected {symptom.worse} by {symptom.margin}"
    ]


def _mean(found: list[Mapping[str, float]], number: str) -> float:
    return sum(numbers[number] for numbers in found) / len(found)


def measured(sources: Sources, settings: Mapping[str, Any]) -> list[Mapping[str, float]]:
    """The numbers of an experiment in this code, with each seed."""
    return list(_measured(tuple(sorted(sources.items())), json.dumps(settings, sort_keys=True)))


@functools.lru_cache(maxsize=64)
def _measured(sources: tuple[tuple[str, str], ...], settings: str) -> tuple[Mapping[str, float], ...]:
    with tempfile.TemporaryDirectory() as folder:
        package = write_sources(dict(sources), Path(folder) / "trueformer")
        return tuple(_apart(_numbers, package, json.loads(settings), seed) for seed in SEEDS)


def _numbers(package: Path, settings: dict[str, Any], seed: int) -> dict[str, float]:
    """In a process of its own."""
    import torch

    from trueformer.hunt.workspace_imports import WorkspaceImports

    torch.set_num_threads(1)
    sys.meta_path.insert(0, WorkspaceImports(package))
    from trueformer.hunt.experiments import measure

    with tempfile.TemporaryDirectory() as folder:
        return measure(settings, seed, Path(folder)).numbers


def _graded(
    sources: Sources,
    ids: list[str],
    *,
    until_broken: bool = False,
    kinds: list[dict[str, Any]] | None = None,
    only: tuple[str, ...] = (),
    draw: int = 0,
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        package = write_sources(sources, Path(folder) / "trueformer")
        return _apart(_grading, package, ids, until_broken, kinds, only, draw)


def _grading(
    package: Path,
    ids: list[str],
    until_broken: bool,
    kinds: list[dict[str, Any]] | None,
    only: tuple[str, ...],
    draw: int,
) -> dict[str, Any]:
    """In a process of its own."""
    import torch

    from trueformer.hunt.grader import graded

    torch.set_num_threads(1)
    chosen = [bug(id) for id in ids]
    seed = zlib.crc32(" ".join(ids).encode()) + draw  # the same each time: a proof does not depend on luck
    return graded(package, chosen, seed, until_broken=until_broken, kinds=kinds, only=only)


def _apart(function: Any, *arguments: Any) -> Any:
    """What a function returns in a fresh process that has torch and the laws and nothing else of ours."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def main() -> int:
    """Proves what is asked for; the exit code is the number of proofs that fail."""
    parser = argparse.ArgumentParser(description="Prove bugs of the catalogue.")
    parser.add_argument("ids", nargs="*", help="all of them without any")
    parser.add_argument("--sound", action="store_true", help="prove that the sound project is left alone")
    parser.add_argument(
        "--quick", action="store_true", help="hold right repairs to the laws that matter most only"
    )
    parser.add_argument("--draws", type=int, default=0, help="only whether it is so in so many other draws")
    asked = parser.parse_args()
    proofs = _of_sound(asked.draws) if asked.sound else _of_bugs(asked.ids, asked.quick, asked.draws)
    failed = 0
    for name, wrong in proofs:
        failed += bool(wrong)
        print(f"{name}: {'proved' if not wrong else ''}", *wrong, sep="\n  " if wrong else "", flush=True)
    return failed


def _of_sound(draws: int) -> Iterator[tuple[str, list[str]]]:
    kinds = [USUAL, *(b.kind for b in bugs().values() if b.kind)]
    different = [kind for i, kind in enumerate(kinds) if kind not in kinds[:i]]
    for draw in range(1, draws + 1) if draws else [0]:
        yield f"the sound project, draw {draw}", prove_sound(different, draw)


def _of_bugs(ids: list[str], quick: bool, draws: int) -> Iterator[tuple[str, list[str]]]:
    for one in [bug(id) for id in ids] or list(bugs().values()):
        yield one.id, prove_always(one, draws) if draws else prove(one, quick=quick)


if __name__ == "__main__":
    sys.exit(main())
