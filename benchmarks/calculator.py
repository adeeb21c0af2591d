"""The demo model learns the calculator: exact match on held-out problems, with and without the tool.

    make demo && python benchmarks/calculator.py --rounds 3

Each round fine-tunes anew with another seed by the command of `make chat-demo`, in a process of its own; its
minutes are those of the whole process. The problems asked are held out from what it is taught, by their
expressions. Nobody else has this task, so there is no peer beside it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import print_table

from trueformer.data.chats.registry import open_task
from trueformer.evaluation.examination import examine
from trueformer.inference.service import ServiceConfig, open_service


def taught(base: Path, out: Path, seed: int) -> float:
    """Fine-tune into `out`; minutes it took."""
    command = [sys.executable, "-m", "trueformer", "finetune", str(base), "arithmetic"]
    command += ["--out", str(out), "--seed", str(seed), "--examine", "0"]
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - begun) / 60


def score(model: Path, limit: int, *, tools: bool) -> str:
    """Exact match with its 95 % interval."""
    config = ServiceConfig(tools=("calculator",) if tools else ())
    with open_service(str(model), config) as service:
        return str(examine(service, open_task("arithmetic"), limit=limit)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=Path("runs/shakespeare"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=500)
    args = parser.parse_args()
    if not args.base.exists():
        raise SystemExit(f"there is no {args.base}: run make demo first, or name a run by --base")
    rows = []
    with tempfile.TemporaryDirectory() as workdir:
        for seed in range(args.rounds):
            out = Path(workdir) / str(seed)
            minutes = taught(args.base, out, seed)
            rows.append(
                {
                    "seed": str(seed),
                    "minutes": f"{minutes:.2f}",
                    "with the calculator": score(out, args.questions, tools=True),
                    "without": score(out, args.questions, tools=False),
                }
            )
            print(rows[-1], flush=True)
    print_table("The demo's model on held-out arithmetic, after fine-tuning (before: it knows no chat)", rows)


if __name__ == "__main__":
    main()
