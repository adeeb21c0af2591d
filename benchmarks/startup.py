"""How long a newcomer waits: importing the package, its help, and importing torch for comparison.

    python benchmarks/startup.py

Wall seconds of whole processes, in turn; the first round, with cold file caches, is left out.
"""

import argparse
import subprocess
import sys
import time

from measure import print_table, spread

COMMANDS = {
    "import trueformer": ["-c", "import trueformer"],
    "trueformer --help": ["-m", "trueformer", "--help"],
    "trueformer train --help": ["-m", "trueformer", "train", "--help"],
    "import torch": ["-c", "import torch"],
    "nothing": ["-c", ""],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one Python process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_ in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            taken = seconds(arguments)
            if round_:
                times[name].append(taken)
    rows = [{"": name, "seconds": spread(values)} for name, values in times.items()]
    print_table("Starting up, whole processes", rows)


if __name__ == "__main__":
    main()
