"""Live laws over an unmodified training script.

    python -m trueformer.watch train.py --lr 3e-4
    python -m trueformer.watch --stop --json watch.json -m my_package.train config.yaml

The script runs as it would alone, with the same numbers to the bit. A line tells when a law breaks: the step,
the line of the script, the module. A table follows at the end. The exit status is the script's own where it
failed, else 1 where a law broke, else 0.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from trueformer.doctor.watch.monitor import Monitor
from trueformer.doctor.watch.observe import observed
from trueformer.doctor.watch.report import Terminal, write_json
from trueformer.doctor.watch.rules import RULES
from trueformer.doctor.watch.rules.rates import Plan, Schedule
from trueformer.doctor.watch.run import Run
from trueformer.doctor.watch.script import run_script

MISTAKE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a script under observation; returns the exit status."""
    options = _options().parse_args(argv)
    target, *arguments = options.module or options.script or [""]
    try:
        _check(target, is_module=bool(options.module), every=options.every)
        plan = Schedule.parse(options.plan) if options.plan else None
    except ValueError as error:
        print(f"watch: {error}", file=sys.stderr)
        return MISTAKE
    terminal = Terminal()
    monitor = Monitor(RULES, Run(every=options.every), terminal.tell, stop=options.stop)
    for rule in monitor.rules:
        if isinstance(rule, Plan):
            rule.schedule = plan
    began = time.perf_counter()
    with observed(monitor):
        status = run_script(target, arguments, is_module=bool(options.module))
    status = status or int(bool(monitor.broken))
    terminal.summary(monitor, time.perf_counter() - began)
    if options.json:
        write_json(options.json, monitor, [target, *arguments], status)
    return status


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trueformer.watch", description="Live laws over an unmodified training script."
    )
    parser.add_argument("--stop", action="store_true", help="end the script where a law breaks first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there as well")
    parser.add_argument("--every", type=int, default=50, metavar="N", help="steps between costly looks (50)")
    parser.add_argument("--plan", metavar="TEXT", help='the planned rate: "warmup=100,steps=1000,peak=3e-4"')
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="a module and its arguments")
    parser.add_argument("script", nargs=argparse.REMAINDER, help="a script and its arguments")
    return parser


def _check(target: str, *, is_module: bool, every: int) -> None:
    if not target:
        raise ValueError(
            "no script was given: expected `python -m trueformer.watch train.py`, or `-m module`"
        )
    if not is_module and not Path(target).is_file():
        raise ValueError(f"{target} is not a file: expected the path of a Python script, or `-m module`")
    if every < 1:
        raise ValueError(f"--every is {every}: expected 1 or more steps between costly looks")


if __name__ == "__main__":
    sys.exit(main())
