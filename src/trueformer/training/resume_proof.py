"""Proof that a killed and resumed run equals one that never stopped, bit for bit, in everything.

Two child processes train the same config: one straight through, one killed by SIGKILL in the middle of a
step and resumed. Their last checkpoints and their logged losses are then compared. Leaves out runs of
several processes.

    trueformer train --prove-resume
"""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trueformer.config import from_dict, to_dict
from trueformer.training.callbacks.json_lines import read_json_lines
from trueformer.training.callbacks.metrics import FILE as METRICS
from trueformer.training.checkpoints import load_checkpoint
from trueformer.training.config import RunConfig
from trueformer.training.folders import checkpoint_path
from trueformer.training.run_folder import differences

CHECKPOINT_EVERY = 2
LOGGED = ("loss", "grad_norm", "lr_factor", "bits_per_byte", "tokens", "skipped")  # everything but times
POLL_SECONDS = 0.001


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumeReport:
    """What was compared, and for each part None or its first difference."""

    steps: int
    killed_after: tuple[int, ...]  # the last step each killed process had logged
    resumed_from: tuple[int, ...]  # the checkpoints gone on from
    parts: dict[str, str | None]

    @property
    def identical(self) -> bool:
        """Whether every part is."""
        return not any(self.parts.values())

    def __str__(self) -> str:
        kills = ", ".join(
            f"killed after step {step}, resumed from step {start}"
            for step, start in zip(self.killed_after, self.resumed_from, strict=True)
        )
        lines = [f"{self.steps} steps straight, and {self.steps} steps {kills}:"]
        lines += [f"  {part:<28} {difference or 'identical'}" for part, difference in self.parts.items()]
        return "\n".join(lines)


def prove_resume(
    config: RunConfig, workdir: Path, *, steps: int = 8, kills: int = 1, seed: int | None = None
) -> ResumeReport:
    """Train `steps` steps of `config` twice in child processes under `workdir`, once killed `kills` times.

    The children run on this process's number of threads. `seed` chooses when to kill; None: by chance.

    Raises:
        ValueError: too few steps for a kill in the middle, a former proof in `workdir`, or torchrun.
        RuntimeError: a child failed; shows the end of its output.
    """
    if steps < CHECKPOINT_EVERY + 3:
        raise ValueError(
            f"steps is {steps}: expected at least {CHECKPOINT_EVERY + 3}, to be killed in the middle"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("the proof starts processes of its own: run it without torchrun")
    config = shortened(config, steps)
    straight, broken = workdir / "straight", workdir / "killed"
    if straight.exists() or broken.exists():
        raise ValueError(f"{workdir} holds a former proof: give another folder, or remove it")
    workdir.mkdir(parents=True, exist_ok=True)
    _finish(_start(config, straight, resume=False), straight)
    chance = random.Random(seed)
    killed_after: list[int] = []
    resumed_from: list[int] = []
    while len(killed_after) < kills:
        first = max([CHECKPOINT_EVERY, *killed_after]) + 1
        if first > steps - 2:
            break
        child = _start(config, broken, resume=bool(killed_after))
        _kill(child, broken, chance.randint(first, steps - 2), chance.random())
        killed_after.append(_logged_step(broken))
        resumed_from.append(_newest(broken))
    _finish(_start(config, broken, resume=True), broken)
    return ResumeReport(
        steps=steps,
        killed_after=tuple(killed_after),
        resumed_from=tuple(resumed_from),
        parts=compare_runs(straight, broken, steps),
    )


def shortened(config: RunConfig, steps: int) -> RunConfig:
    """The config for a proof: few steps, frequent checkpoints and evaluations, no trackers, no early end."""
    loop = dataclasses.replace(
        config.loop,
        steps=steps,
        checkpoint_every=CHECKPOINT_EVERY,
        eval_every=CHECKPOINT_EVERY + 1,
        eval_batches=1,
        keep_last=2,
        patience=None,
        track=(),
        compile=bool(config.loop.compile),
    )
    warmup = min(config.schedule.warmup_steps, steps // 2)
    return dataclasses.replace(
        config, loop=loop, schedule=dataclasses.replace(config.schedule, warmup_steps=warmup)
    )


def variants(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    """The config with each optimizer, in float32 and bf16, eager and compiled, by a name to print."""
    for name in ("adamw", "muon", "adamuon"):
        for precision in ("float32", "bf16"):
            for compiled in (False, True):
                loop = dataclasses.replace(
                    config.loop, precision=precision, parameters="float32", compile=compiled
                )
                optim = dataclasses.replace(config.optim, name=name)
                title = f"{name}, {precision}, {'compiled' if compiled else 'eager'}"
                yield title, dataclasses.replace(config, loop=loop, optim=optim)


def compare_runs(one: Path, other: Path, step: int) -> dict[str, str | None]:
    """Compare two runs' checkpoints of `step` and logs: for each part None or its first difference."""
    a, b = (load_checkpoint(checkpoint_path(folder, step)) for folder in (one, other))
    parts = {
        f"weights ({len(a.model_tensors)})": first_difference(a.model_tensors, b.model_tensors),
        f"optimizer ({len(a.optimizer_tensors)})": first_difference(a.optimizer_tensors, b.optimizer_tensors),
    }
    for key in sorted(a.state.keys() | b.state.keys()):
        changed = differences({key: a.state.get(key)}, {key: b.state.get(key)})
        parts[f"state: {key}"] = _first(changed)
    log, other_log = _log(one), _log(other)
    parts[f"losses logged ({len(log)})"] = _first(differences(log, other_log))
    return parts


def first_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> str | None:
    """The first tensor whose bits differ and where, or None. NaN equals the same NaN, 0 does not equal -0."""
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            return f"{name} is in one run only"
        a, b = one[name], other[name]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return f"{name}: {tuple(a.shape)} {a.dtype} and {tuple(b.shape)} {b.dtype}"
        width = a.element_size()
        bits = [t.contiguous().reshape(-1).view(torch.uint8).reshape(-1, width) for t in (a, b)]
        unequal = (bits[0] != bits[1]).any(-1).nonzero()
        if len(unequal):
            index = int(unequal[0])
            x, y = a.reshape(-1)[index].item(), b.reshape(-1)[index].item()
            return f"{name}: {len(unequal)} of {a.numel()} differ, first at {index}: {x!r} and {y!r}"
    return None


def _first(changed: dict[str, tuple[Any, Any]]) -> str | None:
    for name, (was, now) in changed.items():
        return f"{name}: {str(was)[:40]} and {str(now)[:40]}"
    return None


def _log(folder: Path) -> dict[str, Any]:
    """Every number logged of each step and evaluation, times aside."""
    return {
        f"{record['event']} {record['step']}": {key: record[key] for key in LOGGED if key in record}
        for record in read_json_lines(folder / METRICS)
        if record["event"] in ("step", "evaluate")
    }


def _start(config: RunConfig, folder: Path, *, resume: bool) -> subprocess.Popen:
    """A child process that trains `config` into `folder`; its output goes to `folder`'s name + .log."""
    path = folder.with_suffix(".json")
    path.write_text(json.dumps(to_dict(config)), encoding="utf-8")
    command = [sys.executable, "-m", "trueformer.training.resume_proof", str(path), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with folder.with_suffix(".log").open("a") as log:
        return subprocess.Popen(
            command + ["--resume"] * resume, stdout=log, stderr=subprocess.STDOUT, env=environment
        )


def _finish(child: subprocess.Popen, folder: Path) -> None:
    if child.wait():
        tail = folder.with_suffix(".log").read_text(encoding="utf-8")[-2000:]
        raise RuntimeError(f"the run in {folder} ended with exit code {child.returncode}:\n{tail}")


def _kill(child: subprocess.Popen, folder: Path, step: int, part_of_a_step: float) -> None:
    """SIGKILL the child once it has logged `step`, and part of the time of one step more."""
    began, seen, took = time.monotonic(), 0, 0.0
    while seen < step:
        if child.poll() is not None:
            _finish(child, folder)
            raise RuntimeError(f"the run in {folder} ended before it could be killed after step {step}")
        time.sleep(POLL_SECONDS)
        if _logged_step(folder) > seen:
            began, seen, took = time.monotonic(), _logged_step(folder), time.monotonic() - began
    time.sleep(min(part_of_a_step * took, 1.0))
    child.send_signal(signal.SIGKILL)
    child.wait()


def _logged_step(folder: Path) -> int:
    """The last step in the metrics of a run that may be writing them at this moment."""
    path = folder / METRICS
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return max(
        (record["step"] for line in lines if (record := json.loads(line))["event"] == "step"), default=0
    )


def _newest(folder: Path) -> int:
    return max(
        int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-????????")
    )


def _child(arguments: list[str]) -> None:
    from trueformer.training.run import train

    path, folder, *flags = arguments
    config = from_dict(RunConfig, json.loads(Path(path).read_text(encoding="utf-8")))
    train(config, Path(folder), resume="--resume" in flags)


if __name__ == "__main__":
    _child(sys.argv[1:])
