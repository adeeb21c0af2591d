"""Baselines of the bug hunt: what is solved by doing nothing, by knowing, by a wrong repair, by luck, by the doctor.

    python benchmarks/hunting.py --out rows                                 # every hunter over every case: hours
    python benchmarks/hunting.py --out rows --hunter oracle wrong --cases tunnel-vision cold-hands
    python benchmarks/hunting.py --out rows --hunter doctor --sample 20 --minutes 3

The hunters are programs (`hunters/`), run by the same code as `trueformer hunt bench`, sealed in; each sees beside its
workspace what it is given here and nothing more. `nothing` and `wrong` must solve no case and `oracle` all of them: the
exit code says whether they did. Rows are written to the folder as they come, a file for each hunter.
"""

import argparse
import random
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from hunters.wrong import name_of
from measure import print_table

from trueformer.hunt.bench import Row, Setting, bench, summary
from trueformer.hunt.bug import LEVELS, Bug, bug, bugs
from trueformer.hunt.plant import planted, repaired, write_sources
from trueformer.hunt.project import PACKAGE, project

PROGRAMS = Path(__file__).parent / "hunters"
MUST = {"nothing": 0, "wrong": 0, "oracle": 1}  # the share that each has to solve
DOCTOR = ("laws", "subject", "doctor")


def sound(cases: Sequence[Bug], folder: Path) -> None:
    """The project without a bug."""
    write_sources(project(), folder)


def refused(cases: Sequence[Bug], folder: Path) -> None:
    """For each case the first repair that its catalogue refuses."""
    for case in cases:
        before, after = planted([case]), repaired([case], case.refused[0].edits)
        write_sources({n: s for n, s in after.items() if s != before.get(n)}, folder / name_of(before))


def doctors(cases: Sequence[Bug], folder: Path) -> None:
    """The laws and the doctor, and the adapter that shows them our stack."""
    for name in DOCTOR:
        shutil.copytree(
            PACKAGE / name, folder / "trueformer" / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(PACKAGE / "as_subject.py", folder / "trueformer")


GIVEN: dict[str, Callable[[Sequence[Bug], Path], None] | None] = {
    "nothing": None,
    "oracle": sound,
    "wrong": refused,
    "random-line": None,
    "doctor": doctors,
}


def hunt(
    hunter: str, cases: Sequence[Bug], minutes: int | float, out: Path, *, seal: bool = True
) -> list[Row]:
    """The rows of one hunter over these cases; also written to `out`, and told of as they come."""
    rows: list[Row] = []
    words = [sys.executable, str(PROGRAMS / f"{hunter.replace('-', '_')}.py")]
    with tempfile.TemporaryDirectory(prefix="given-") as temporary:
        prepare, folder = GIVEN[hunter], Path(temporary) / "given"
        folder.mkdir()
        if prepare is not None:
            prepare(cases, folder)
        words.append("0" if hunter == "random-line" else str(folder))
        setting = Setting(minutes=minutes, seal=seal, allow=(PROGRAMS, folder), measure=False)
        for row in bench(shlex.join(words), cases, setting, out):
            rows.append(row)
            told = "solved" if row.solved else "fooled" if row.fooled else "not solved"
            print(f"{hunter} {len(rows)}/{len(cases)} {row.case}: {told}, {row.seconds:.1f} s", flush=True)
    return rows


def line(hunter: str, rows: Sequence[Row]) -> dict[str, str]:
    """A row of the table."""
    *_, whole = summary(rows)
    by_level = {level: [row.solved for row in rows if row.level == level] for level in LEVELS}
    return {
        "hunter": hunter,
        **{level: f"{sum(solved)} of {len(solved)}" for level, solved in by_level.items()},
        **{name: whole[name] for name in ("solved", "points", "seconds", "lines changed", "fooled")},
    }


def surprises(hunter: str, rows: Sequence[Row]) -> list[str]:
    """The cases in which a hunter did other than it must."""
    return [
        f"{hunter} {'solves' if row.solved else 'does not solve'} {row.case} {row.error or row.said}".strip()
        for row in rows
        if hunter in MUST and row.solved != MUST[hunter]
    ]


def main() -> int:
    """Runs the hunters that are asked for; 1 where one of them solved what it must not, or the other way round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hunter", nargs="+", choices=list(GIVEN), default=list(GIVEN))
    parser.add_argument("--cases", nargs="+", default=[], help="ids; all of them without any")
    parser.add_argument("--sample", type=int, help="so many of them, drawn by chance, always the same ones")
    parser.add_argument("--minutes", type=float, default=3.0, help="the budget for each case")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the rows")
    asked = parser.parse_args()
    cases = [bug(id) for id in asked.cases] or list(bugs().values())
    if asked.sample is not None:
        cases = random.Random(0).sample(cases, min(asked.sample, len(cases)))
    if asked.out.exists():
        raise SystemExit(f"{asked.out} is there already: it is not overwritten; give another name with --out")
    asked.out.mkdir(parents=True)
    rows = {name: hunt(name, cases, asked.minutes, asked.out / f"{name}.jsonl") for name in asked.hunter}
    print_table(f"Solved of {len(cases)} cases", [line(name, found) for name, found in rows.items()])
    wrong = [said for name, found in rows.items() for said in surprises(name, found)]
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
