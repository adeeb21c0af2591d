"""What `python -m trueformer.watch` costs: training with and without it, in turns.

    python benchmarks/watch.py
    python benchmarks/watch.py --rounds 9 --steps 40

Two loops on one model, the demo's shape (depth 4) at a small step (4 rows of 128 tokens, not compiled): our
own trainer, and a plain loop with torch's AdamW, clipping and a schedule. Processor time is counted, so that
others on the machine matter less. What the watch costs does not grow with the rows, so a larger step feels it
less. One watch sees all rounds of a loop as one run, with its first steps, that it looks at closely, in round one.
Text is made up, since its content costs nothing.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from measure import print_table, spread

from trueformer.data.config import DataConfig
from trueformer.data.shards import PreparedData, prepare
from trueformer.doctor.watch.monitor import Monitor
from trueformer.doctor.watch.observe import observed
from trueformer.doctor.watch.rules import RULES
from trueformer.doctor.watch.run import Run
from trueformer.presets import depth_model, depth_run
from trueformer.training.data import TextData
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model

Steps = Callable[[int], None]
ROWS, LENGTH = 4, 128


def our_trainer(data: PreparedData, config: DataConfig, folder: Path) -> Steps:
    """The trainer of `trueformer train --depth 4 --no-compile`."""
    shape = depth_model(4, vocab_size=data.tokenizer.vocab_size, max_len=config.seq_len)
    loop = {"compile": False, "steps": 10**6, "precision": "float32", "batch_size": ROWS}
    run = depth_run(shape, config, train_tokens=10**9, loop=loop)
    trainer = Trainer(
        run, build_model(shape, run.loop), TextData(data, config), folder, device=torch.device("cpu")
    )

    def steps(count: int) -> None:
        for _ in range(count):
            trainer.step()

    return steps


def plain_loop(data: PreparedData, config: DataConfig) -> Steps:
    """The same model, and what a script would write around it."""
    shape = depth_model(4, vocab_size=data.tokenizer.vocab_size, max_len=config.seq_len)
    run = depth_run(shape, config, train_tokens=10**9)
    model = build_model(shape, run.loop)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10**6)
    ids = torch.randint(0, shape.vocab_size, (ROWS, config.seq_len + 1))

    def steps(count: int) -> None:
        for _ in range(count):
            logits = model(ids[:, :-1])
            F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)

    return steps


def seconds(steps: Steps, count: int, watch: AbstractContextManager[None]) -> float:
    """Processor time of one step."""
    began = time.process_time()
    with watch:
        steps(count)
    return (time.process_time() - began) / count


def compare(name: str, steps: Steps, rounds: int, count: int) -> dict[str, str]:
    """A row: both times, and how much more the watched one takes, each round against its own neighbour."""
    steps(3)
    monitor = Monitor(RULES, Run(), lambda found: print(found))
    alone, watched = [], []
    for _ in range(rounds):
        alone.append(seconds(steps, count, nullcontext()))
        watched.append(seconds(steps, count, observed(monitor)))
    if monitor.failures:
        raise RuntimeError(f"a rule failed: {monitor.failures}")
    more = [100 * (b / a - 1) for a, b in zip(alone, watched, strict=True)]
    return {
        "loop": name,
        "ms a step": spread([1000 * s for s in alone]),
        "watched": spread([1000 * s for s in watched]),
        "more, %": f"{statistics.median(more):+.1f} ({min(more):+.1f} – {max(more):+.1f})",
        "all rounds, %": f"{100 * (sum(watched) / sum(alone) - 1):+.1f}",
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What the watch costs.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "text.txt"
        letters = random.Random(0).choices("etaoin shrdlu\n", k=300_000)
        source.write_text("".join(letters))
        config = DataConfig(source=str(source), tokenizer="char", seq_len=LENGTH, cache=folder)
        data = prepare(config)
        loops = {"ours": our_trainer(data, config, Path(folder)), "plain": plain_loop(data, config)}
        rows = [compare(name, steps, options.rounds, options.steps) for name, steps in loops.items()]
    print_table(f"Training under the watch, {options.rounds} rounds of {options.steps} steps in turns", rows)


if __name__ == "__main__":
    main()
