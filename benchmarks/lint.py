"""How many megabytes of source a second: trueformer lint beside TorchFix and torch-preflight.

    pip install 'trueformer[lint,hf]'
    python benchmarks/lint.py --rounds 5

All three read the same sample of the installed transformers and torch sources, each as one whole process with one
job, in turn, so that all see the same machine. Ours also reads much more within one process, where starting up does
not count. Seconds are the processor's, user and system: each is a single thread, and other work on the machine then
counts for nobody.
"""

import argparse
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from measure import print_table, spread

from trueformer.doctor.lint.config import LintConfig
from trueformer.doctor.lint.run import lint

COMMANDS = {
    "trueformer lint": ["trueformer", "lint"],
    "TorchFix": ["torchfix", "--jobs", "1"],
    "torch-preflight": ["torch_preflight", "check", "--jobs", "1"],
}


def sources() -> list[Path]:
    """Every Python file of transformers and torch."""
    found = []
    for name in ("transformers", "torch"):
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{name} is not installed: pip install 'trueformer[hf]'")
        found += sorted(Path(spec.origin).parent.rglob("*.py"))
    return found


def draw(files: list[Path], megabytes: float) -> tuple[list[Path], float]:
    """Files drawn by chance, always the same ones, and how many megabytes they are."""
    shuffled = random.Random(0).sample(files, len(files))
    drawn, size = [], 0.0
    while shuffled and size < megabytes:
        drawn.append(shuffled.pop())
        size += drawn[-1].stat().st_size / 1e6
    return drawn, size


def seconds(command: list[str]) -> float:
    """Processor time of one process; findings are no failure."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{command[0]} failed: {done.stderr.decode().strip()}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds_within(files: list[Path]) -> float:
    """Processor time of our rules over files, within this process."""
    began = time.process_time()
    lint(files, LintConfig())
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=float, default=1.0, help="megabytes that all three read")
    parser.add_argument(
        "--within", type=float, default=1e6, help="megabytes that ours reads within a process"
    )
    args = parser.parse_args()
    files = sources()
    rates: dict[str, list[float]] = {name: [] for name in COMMANDS if find_spec(COMMANDS[name][0])}
    within: list[float] = []
    many, large = draw(files, args.within)
    few, small = draw(files, args.sample)
    with tempfile.TemporaryDirectory() as folder:
        for i, file in enumerate(few):
            shutil.copyfile(file, Path(folder) / f"{i}_{file.name}")
        for round_ in range(args.rounds):
            for peer, measured in rates.items():
                measured.append(small / seconds([*COMMANDS[peer], folder]))
            within.append(large / seconds_within(many))
            print(f"round {round_ + 1} of {args.rounds}", flush=True)
    rows = [
        {"": peer, "read": f"{small:.2g} MB, a whole process", "MB a second": spread(measured)}
        for peer, measured in rates.items()
    ]
    read = f"{large:.0f} MB, {len(many)} files, within a process"
    rows.append({"": "trueformer lint", "read": read, "MB a second": spread(within)})
    print_table("Source read a second of processor time, median (least–most)", rows)


if __name__ == "__main__":
    main()
