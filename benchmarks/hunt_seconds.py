"""How long a hunter waits: `trueformer hunt start`, `run` and `check`, over cases drawn by chance.

    python benchmarks/hunt_seconds.py --runs all --cases 6 --rounds 5

Each command is a whole process, as at a terminal. `--runs all` takes the experiment of every easy and medium case
once, whose slowest is what the promise of 60 seconds is about; a check is timed `--rounds` times in each of `--cases`
workspaces, a start once in each.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import print_table, spread

from trueformer.hunt.bug import Bug, bugs
from trueformer.hunt.plant import planted
from trueformer.hunt.workspace import fill

TRUEFORMER = [sys.executable, "-P", "-c", "import sys; from trueformer.cli import main; sys.exit(main())"]


def seconds(words: list[str], folder: Path, expected: str = "") -> float:
    """Wall-clock time of one command in a folder, which says what is expected of it."""
    began = time.perf_counter()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - began
    if expected not in done.stdout or done.returncode not in (0, 1):
        raise SystemExit(
            f"{words[-1]} ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return taken


def experiments(cases: list[Bug]) -> dict[str, float]:
    """The seconds of each case's experiment, in its planted code."""
    taken = {}
    for case in cases:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "hunt"
            fill(folder, [case], planted([case]), minutes=None, measure=False)
            taken[case.id] = seconds([sys.executable, "run.py"], folder)
        print(f"{case.id}: {taken[case.id]:.1f} s", file=sys.stderr, flush=True)
    return taken


def hunted(case: Bug, rounds: int, folder: Path) -> tuple[float, list[float]]:
    """The seconds of a start and of checks."""
    start = seconds([*TRUEFORMER, "hunt", "start", case.id, "--out", case.id], folder)
    checks = [seconds([*TRUEFORMER, "hunt", "check"], folder / case.id, "not solved") for _ in range(rounds)]
    print(f"{case.id}: start {start:.1f} s, check {spread(checks)} s", file=sys.stderr, flush=True)
    return start, checks


def main() -> None:
    """Measures and prints one table."""
    parser = argparse.ArgumentParser(description="Time the commands of the hunt.")
    parser.add_argument("--runs", choices=("all", "none"), default="all")
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    drawn = random.Random(0).sample(list(bugs().values()), asked.cases)
    rows = []
    if asked.runs == "all":
        taken = experiments([b for b in bugs().values() if b.level in ("easy", "medium")])
        slowest = max(taken, key=lambda id: taken[id])
        rows.append(
            {
                "command": f"run ({len(taken)} cases)",
                "seconds": spread(list(taken.values())),
                "slowest": slowest,
            }
        )
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_STATE_HOME"] = f"{temporary}/state"
        found = {case.id: hunted(case, asked.rounds, Path(temporary)) for case in drawn}
    starts = {id: start for id, (start, _) in found.items()}
    checks = {id: max(checks) for id, (_, checks) in found.items()}
    every = [second for _, checks in found.values() for second in checks]
    for name, each, all_of_them in (("start", starts, list(starts.values())), ("check", checks, every)):
        slowest = max(each, key=lambda id: each[id])
        rows.append(
            {"command": f"{name} ({len(each)} cases)", "seconds": spread(all_of_them), "slowest": slowest}
        )
    print_table("Seconds that a hunter waits: median (least–most)", rows)


if __name__ == "__main__":
    main()
