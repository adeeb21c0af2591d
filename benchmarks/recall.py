"""How many planted bugs the doctor finds, and whether the first law that it names is of the right component.

    python benchmarks/recall.py                       # the handwritten mutants
    python benchmarks/recall.py --subject llama_like  # those of one file, or of the stack
    python benchmarks/recall.py --only llama_like/q   # those whose name holds this
    python benchmarks/recall.py --operators 40        # so many, drawn by a seed, of those that operators make of the
                                                      # foreign models' files and that change what the model computes

Each mutant is examined in a process of its own until a law is broken, and told of on stderr as soon as it is known;
Ctrl-C ends with what is known so far. Prints a table, and every survivor with the reason.
"""

import argparse
import json
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch  # noqa: F401 - imported once here, for all the children

sys.path.insert(0, str(Path(__file__).parent))
from mutants.catalogue import MUTANTS
from mutants.examine import ROOT, Outcome, examine
from mutants.mechanical import Mechanical, drawn
from mutants.mutant import Mutant
from mutants.survivors import NO_BUG, SURVIVORS

Planted = Mutant | Mechanical
SUBJECTS = ("gpt2_like", "llama_like", "stack")


def subject_of(mutant: Planted) -> str:
    """The file, where it is of a foreign model, or the stack."""
    return "stack" if mutant.file.startswith("src/") else Path(mutant.file).stem


def right(mutant: Planted, outcome: Outcome) -> bool:
    """Whether what is named first is at fault; an error names its own place, and an operator knows no component."""
    said = outcome.broken or outcome.advice
    if isinstance(mutant, Mechanical) or not said:
        return outcome.caught
    return said[0].split("/")[0] in (mutant.component, *mutant.also)


def examined(mutants: Iterable[Planted], jobs: int) -> Iterator[tuple[Planted, Outcome]]:
    """Each mutant with what became of it, as soon as that is known."""
    with ThreadPoolExecutor(jobs) as pool:
        asked = {pool.submit(examine, m.file, m.source(ROOT)): m for m in mutants}
        try:
            for answer in as_completed(asked):
                yield asked[answer], answer.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def known(mutants: list[Planted], jobs: int) -> dict[Planted, Outcome]:
    """What became of them all, or of those that were examined before an interruption; in the order of `mutants`."""
    outcomes: dict[Planted, Outcome] = {}
    try:
        for mutant, outcome in examined(mutants, jobs):
            outcomes[mutant] = outcome
            tell(f"{len(outcomes):3}/{len(mutants)}", mutant, outcome)
    except KeyboardInterrupt:
        print(f"\nInterrupted: {len(outcomes)} of {len(mutants)} are known.\n")
    return {mutant: outcomes[mutant] for mutant in mutants if mutant in outcomes}


def tell(count: str, mutant: Planted, outcome: Outcome) -> None:
    """One line on stderr."""
    mark = (
        "LATE"
        if outcome.late
        else "MISS"
        if not outcome.caught
        else "ok  "
        if right(mutant, outcome)
        else "elsewhere"
    )
    about = f" [{mutant.component}]" if isinstance(mutant, Mutant) else ""
    said = f"{list(outcome.broken[:4])} {list(outcome.advice[:2])} {outcome.error}"
    print(f"{count} {mark} {mutant.name}{about} {said} {outcome.seconds:.0f} s", file=sys.stderr, flush=True)


def table(outcomes: Mapping[Planted, Outcome]) -> None:
    """One line a subject, and one for all."""
    print(
        "| subject | mutants | caught | | by advice only | right component first | |\n|---|---|---|---|---|---|---|"
    )
    for name, pairs in grouped(outcomes):
        caught = [(m, o) for m, o in pairs if o.caught]
        advised = sum(bool(o.advice) and not o.broken for _, o in pairs)
        named = sum(right(m, o) for m, o in caught)
        share = len(caught) / max(1, len(pairs))
        first = named / max(1, len(caught))
        print(f"| {name} | {len(pairs)} | {len(caught)} | {share:.1%} | {advised} | {named} | {first:.1%} |")


def table_of_operators(outcomes: Mapping[Planted, Outcome]) -> None:
    """As `table`; apart are those that are no bugs, which should be left alone."""
    print(
        "| subject | mutants | no bug | of these left alone | bugs | caught | |\n|---|---|---|---|---|---|---|"
    )
    for name, pairs in grouped(outcomes):
        sound = [o for m, o in pairs if m.name in NO_BUG]
        bugs = [o for m, o in pairs if m.name not in NO_BUG]
        alone, caught = sum(not o.caught for o in sound), sum(o.caught for o in bugs)
        share = caught / max(1, len(bugs))
        print(f"| {name} | {len(pairs)} | {len(sound)} | {alone} | {len(bugs)} | {caught} | {share:.1%} |")


def grouped(outcomes: Mapping[Planted, Outcome]) -> list[tuple[str, list[tuple[Planted, Outcome]]]]:
    """The outcomes of each subject, and of all."""
    groups: dict[str, list[tuple[Planted, Outcome]]] = defaultdict(list)
    for mutant, outcome in outcomes.items():
        groups[subject_of(mutant)].append((mutant, outcome))
    return [*groups.items(), ("all", list(outcomes.items()))]


def asked_for(wanted: argparse.Namespace) -> list[Planted]:
    """The mutants that the command line names."""
    subjects = [name for name in SUBJECTS if wanted.subject in (None, name)]
    if wanted.operators:
        print("Seeing which mechanical mutants change anything ...", file=sys.stderr, flush=True)
        return list(drawn([name for name in subjects if name != "stack"], wanted.operators, wanted.only))
    named = [m for m in MUTANTS if wanted.only in m.name and subject_of(m) in subjects]
    return [m for m in named if m.component in wanted.component or not wanted.component]


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="")
    parser.add_argument("--subject", choices=SUBJECTS)
    parser.add_argument("--component", nargs="*", default=[])
    parser.add_argument("--operators", type=int, metavar="N")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Runs what is asked for."""
    wanted = options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a time limit keeps what is known
    outcomes = known(asked_for(wanted), wanted.jobs)
    (table_of_operators if wanted.operators else table)(outcomes)
    survivors = [mutant for mutant, outcome in outcomes.items() if not outcome.caught]
    print("\nSurvivors:" if survivors else "\nNo survivors.")
    reasons = SURVIVORS | NO_BUG
    for mutant in survivors:
        print(f"- {mutant.name}: {reasons.get(mutant.name, 'no reason known')}")
    found = {m.finding for m, o in outcomes.items() if isinstance(m, Mutant) and m.finding and o.caught}
    if found:
        print(f"\nFindings replayed and caught: {', '.join(sorted(found))}")
    if wanted.json:
        answers = {m.name: [o.broken, o.advice, o.error] for m, o in outcomes.items()}
        wanted.json.write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
