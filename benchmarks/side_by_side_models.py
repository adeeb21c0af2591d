"""The reported defects in two whole models, by tools that need no script: check and lint, TorchFix, torch-preflight.

    python benchmarks/recall.py --json recall.json
    python benchmarks/side_by_side_models.py --recall recall.json   # without it, all are checked anew

Every reported defect (K1, T5, N9 …) as it is planted in the two foreign models with all their parts. A linter finds
a bug where it says something of the mutated file that it does not say of the sound one. TrainCheck needs a script
that runs, and a sound run of it: see `side_by_side.py`.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch  # noqa: F401 - imported once here, for all the children

sys.path.insert(0, str(Path(__file__).parent))
from measure import hardware
from mutants.catalogue import FOREIGN
from mutants.examine import ROOT, examine
from mutants.mutant import Mutant

from trueformer.doctor.lint.config import LintConfig
from trueformer.doctor.lint.peers import with_peers
from trueformer.doctor.lint.run import Outcome, lint

TOOLS = ("trueformer check", "trueformer lint", "torch-preflight", "torchfix")


def checked(mutants: list[Mutant], recall: Path | None) -> set[str]:
    """The names of those that the doctor finds."""
    if recall is not None:
        known = json.loads(recall.read_text())
        return {mutant.name for mutant in mutants if any(known[mutant.name])}
    with ThreadPoolExecutor(2) as pool:
        outcomes = pool.map(lambda m: examine(m.file, m.source(ROOT)), mutants)
    return {mutant.name for mutant, outcome in zip(mutants, outcomes, strict=True) if outcome.caught}


def linted(mutants: list[Mutant]) -> dict[str, set[str]]:
    """For each linter the names of those that it finds: it says more of them than of the sound file."""
    with tempfile.TemporaryDirectory() as folder:
        for i, mutant in enumerate(mutants):
            Path(folder, f"m{i}.py").write_text(mutant.source(ROOT), encoding="utf-8")
        for file in {mutant.file for mutant in mutants}:
            Path(folder, Path(file).name).write_text(
                (ROOT / file).read_text(encoding="utf-8"), encoding="utf-8"
            )
        ours = lint([Path(folder)], LintConfig())
        both = with_peers(Outcome(hits=(), failures=(), files=ours.files), [Path(folder)])
    for failure in both.failures:
        print(f"{failure.path}: {failure.reason}", file=sys.stderr)
    said = Counter((_tool(hit.rule), Path(hit.path).name, hit.rule) for hit in (*ours.hits, *both.hits))
    found: dict[str, set[str]] = {tool: set() for tool in TOOLS[1:]}
    for i, mutant in enumerate(mutants):
        sound = Path(mutant.file).name
        for (tool, file, rule), times in said.items():
            if file == f"m{i}.py" and times > said[(tool, sound, rule)]:
                found[tool].add(mutant.name)
    return found


def _tool(rule: str) -> str:
    name = rule.split("/")[0]
    return name if name in TOOLS else "trueformer lint"


def main() -> None:
    """Prints a line for each finding, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recall", type=Path)
    wanted = parser.parse_args()
    mutants = [mutant for mutant in FOREIGN if mutant.finding]
    found = {"trueformer check": checked(mutants, wanted.recall), **linted(mutants)}
    print(f"{hardware()}\n\n| finding | planted | {' | '.join(TOOLS)} |\n|---|---|{'---|' * len(TOOLS)}")
    for finding in sorted({mutant.finding for mutant in mutants}):
        names = [mutant.name for mutant in mutants if mutant.finding == finding]
        counts = [sum(name in found[tool] for name in names) for tool in TOOLS]
        print(f"| {finding} | {len(names)} | {' | '.join(str(n or '·') for n in counts)} |")
    print(f"| all | {len(mutants)} | {' | '.join(str(len(found[tool])) for tool in TOOLS)} |")


if __name__ == "__main__":
    main()
