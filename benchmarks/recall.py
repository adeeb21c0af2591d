"""How many planted bugs the doctor finds, and whether the first law that it names is of the right component.

    python benchmarks/recall.py                    # the handwritten mutants
    python benchmarks/recall.py --only llama_like  # those whose name holds this
    python benchmarks/recall.py --operators 200    # so many made by operators over the two foreign models

Each mutant is examined in a process of its own. Prints a table, and every survivor with the reason.
"""

import argparse
import json
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch  # noqa: F401 - imported once here, for all the children

sys.path.insert(0, str(Path(__file__).parent))
from mutants.catalogue import MUTANTS
from mutants.examine import ROOT, Outcome, examine
from mutants.mutant import Mutant
from mutants.survivors import SURVIVORS


def right(mutant: Mutant, outcome: Outcome) -> bool:
    """Whether what is named first is at fault; an error names its own place."""
    said = outcome.broken or outcome.advice
    return said[0].split("/")[0] in (mutant.component, *mutant.also) if said else bool(outcome.error)


def table(outcomes: dict[Mutant, Outcome]) -> None:
    """One line a file of mutants, and one for all."""
    groups = defaultdict(list)
    for mutant, outcome in outcomes.items():
        groups["the stack" if mutant.file.startswith("src/") else Path(mutant.file).stem].append(
            (mutant, outcome)
        )
    groups["all"] = list(outcomes.items())
    print(
        "| subject | mutants | caught | | by advice only | right component first | |\n|---|---|---|---|---|---|---|"
    )
    for name, pairs in groups.items():
        caught = [(m, o) for m, o in pairs if o.caught]
        advised = sum(bool(o.advice) and not o.broken for _, o in pairs)
        named = sum(right(m, o) for m, o in caught)
        share = len(caught) / len(pairs)
        first = named / max(1, len(caught))
        print(f"| {name} | {len(pairs)} | {len(caught)} | {share:.1%} | {advised} | {named} | {first:.1%} |")


def main() -> None:
    """Runs them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--component", nargs="*", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    mutants = [
        m
        for m in MUTANTS
        if wanted.only in m.name and (m.component in wanted.component or not wanted.component)
    ]
    with ThreadPoolExecutor(wanted.jobs) as pool:
        outcomes = dict(
            zip(mutants, pool.map(lambda m: examine(m.file, m.source(ROOT)), mutants), strict=True)
        )
    for mutant, outcome in outcomes.items():
        mark = (
            "ok  "
            if outcome.caught and right(mutant, outcome)
            else "MISS"
            if not outcome.caught
            else "elsewhere"
        )
        said = f"{list(outcome.broken[:4])} {list(outcome.advice[:2])} {outcome.error}"
        print(f"{mark} {mutant.name} [{mutant.component}] {said}", file=sys.stderr)
    table(outcomes)
    survivors = [mutant for mutant, outcome in outcomes.items() if not outcome.caught]
    print("\nSurvivors:" if survivors else "\nNo survivors.")
    for mutant in survivors:
        print(f"- {mutant.name}: {SURVIVORS.get(mutant.name, 'no reason known')}")
    found = {f for m, o in outcomes.items() if m.finding and o.caught for f in [m.finding]}
    print(f"\nFindings replayed and caught: {', '.join(sorted(found))}")
    if wanted.json:
        wanted.json.write_text(
            json.dumps({m.name: [o.broken, o.advice, o.error] for m, o in outcomes.items()}, indent=1)
        )


if __name__ == "__main__":
    main()
