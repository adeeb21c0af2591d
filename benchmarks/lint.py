"""How many megabytes of source a second: trueformer lint beside TorchFix and torch-preflight.

    pip install 'trueformer[lint,hf]'
    python benchmarks/lint.py --rounds 5

All three read the same sample of the installed transformers and torch sources, each as one whole process with one
job, in turn, so that all see the same machine. Ours also reads everything there is, within one process.
"""

import argparse
import random
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


def sample(files: list[Path], megabytes: float, folder: Path) -> float:
    """Copy files drawn by chance, always the same ones, into the folder; how many megabytes they are."""
    files, size = list(files), 0.0
    random.Random(0).shuffle(files)
    for i, file in enumerate(files):
        if size >= megabytes:
            break
        shutil.copyfile(file, folder / f"{i}_{file.name}")
        size += file.stat().st_size / 1e6
    return size


def seconds(command: list[str]) -> float:
    """Wall time of one process; findings are no failure."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{command[0]} failed: {done.stderr.decode().strip()}")
    return time.perf_counter() - began


def seconds_within(files: list[Path]) -> float:
    """Wall time of our rules over files, within this process."""
    began = time.perf_counter()
    lint(files, LintConfig())
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=1.0, help="of the sample that all three read")
    parser.add_argument("--everything", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    files = sources()
    rates: dict[str, list[float]] = {name: [] for name in COMMANDS if find_spec(COMMANDS[name][0])}
    whole, total = [], sum(file.stat().st_size for file in files) / 1e6
    with tempfile.TemporaryDirectory() as name:
        size = sample(files, args.megabytes, Path(name))
        for round_ in range(args.rounds):
            for peer, measured in rates.items():
                measured.append(size / seconds([*COMMANDS[peer], name]))
            if args.everything:
                whole.append(total / seconds_within(files))
            print(f"round {round_ + 1} of {args.rounds}", flush=True)
    rows = [
        {"": peer, "read": f"{size:.1f} MB, one process", "MB a second": spread(measured)}
        for peer, measured in rates.items()
    ]
    if whole:
        read = f"{total:.0f} MB, {len(files)} files, within a process"
        rows.append({"": "trueformer lint", "read": read, "MB a second": spread(whole)})
    print_table("Source read a second, median (least–most)", rows)


if __name__ == "__main__":
    main()
