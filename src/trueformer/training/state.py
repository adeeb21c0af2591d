"""How far a run is, and everything beside tensors that a checkpoint needs to go on exactly, as JSON.

Leaves out the files (`checkpoints`) and the tensors (the model's and the optimizer's own state).
"""

import dataclasses
import json
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from trueformer.training.distributed import World, gathered
from trueformer.training.randomness import capture_rng, restore_rng


@dataclass(kw_only=True, slots=True)
class Progress:
    """Counters that only the loop moves."""

    step: int = 0  # optimizer steps behind us, taken or skipped; the schedule counts these
    tokens: int = 0  # target tokens in them, over all processes
    skipped: int = 0  # steps whose loss or gradient was not finite
    bad_in_a_row: int = 0  # of those, how many since the last good step


def capture_state(
    progress: Progress,
    *,
    loader: dict[str, Any],
    optimizer: dict[str, Any],
    callbacks: dict[str, Any],
    data: str,
    chat_template: str | None,
    world: World,
) -> dict[str, Any]:
    """A checkpoint's state.json; every process must call it. `data` identifies the tokens trained on."""
    rng = [json.loads(part) for part in gathered(json.dumps(capture_rng()).encode(), world)]
    return {
        "progress": dataclasses.asdict(progress),
        "loader": loader,
        "optimizer": optimizer,
        "callbacks": callbacks,
        "rng": rng,  # by rank
        "data": data,
        "chat_template": chat_template,
        "environment": environment(world),
    }


def environment(world: World) -> dict[str, Any]:
    """What decides rounding beside the config: resumed under another, a run is sound, not bit-identical."""
    return {
        "processes": world.size,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def restore_state(state: dict[str, Any], world: World) -> Progress:
    """Put back this process's random generators; returns the counters. Warns where rounding may differ."""
    saved, here = state["environment"], environment(world)
    changed = [f"{key} {saved.get(key)} → {here[key]}" for key in here if saved.get(key) != here[key]]
    if changed:
        warnings.warn(
            f"resumed in another environment ({', '.join(changed)}): the run goes on soundly, but its "
            "numbers will not be bit-identical to those of one that never stopped",
            stacklevel=2,
        )
    if world.rank < len(state["rng"]):
        restore_rng(state["rng"][world.rank])
    return Progress(**state["progress"])
