"""The folder of a run: when it may be written to, what it was made with, and what may change when it goes on.

    RUN/{config.json, tokenizer.json, metrics.jsonl, loss.png, checkpoints/…}

Nothing of the user's is overwritten: a folder that is not empty is refused, unless the run in it is
resumed, or is to be thrown away (`overwrite`) and holds nothing but a run's own files. Leaves out
checkpoints.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from trueformer.config import from_dict, to_dict
from trueformer.optim.schedules import factor
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.callbacks.figure import FILE as FIGURE
from trueformer.training.callbacks.gradients import FILE as GRADIENTS
from trueformer.training.callbacks.metrics import FILE as METRICS
from trueformer.training.callbacks.sample import FILE as SAMPLES
from trueformer.training.checkpoints import Checkpoint, latest_checkpoint, load_checkpoint
from trueformer.training.config import FinetuneConfig, RunConfig, TrainConfig

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
TRACKERS = ("tensorboard", "wandb")
OURS = {CONFIG, TOKENIZER, METRICS, SAMPLES, GRADIENTS, FIGURE, "checkpoints", *TRACKERS}

# What changes no number of the training itself. The tokens' own fingerprint is compared, so the source may
# move.
FREE = {
    "base",
    "data.source",
    "data.sources",
    "data.validation",
    "data.cache",
    "loop.steps",
    "loop.eval_every",
    "loop.eval_batches",
    "loop.checkpoint_every",
    "loop.keep_last",
    "loop.sample_every",
    "loop.sample_prompt",
    "loop.sample_tokens",
    "loop.sample_temperature",
    "loop.patience",
    "loop.max_bad_steps",
    "loop.watch_gradients",
    "loop.track",
}
# The same mathematics in another order of rounding: allowed, and said.
ROUNDING = {"loop.device", "loop.compile", "loop.backend", "loop.micro_batch_size", "loop.loss_chunk"}


def saved_config(folder: Path) -> RunConfig | FinetuneConfig:
    """The configuration the run in `folder` was last started with: fine-tuning has a base.

    Raises:
        ValueError: there is no run, or its config.json is not one.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} is no run folder: it has no {CONFIG}")
    try:
        return config_from(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def config_from(values: dict[str, Any]) -> RunConfig | FinetuneConfig:
    """The configuration of a run, of either kind; raises ValueError where it is none."""
    kind = FinetuneConfig if isinstance(values, dict) and "base" in values else RunConfig
    return from_dict(kind, values)


def check_claim(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Whether a run may be written to `folder`; touches nothing.

    Raises:
        ValueError: it holds something and neither `resume` nor `overwrite` allows that; it holds no run to
        resume;
            or it holds something besides a run, which `overwrite` would remove.
    """
    if resume and overwrite:
        raise ValueError("resume and overwrite contradict each other: give one of them")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder")
    if resume:
        saved_config(folder)
    elif folder.exists() and any(folder.iterdir()):
        if not overwrite:
            raise ValueError(
                f"{folder} is not empty: give another folder, resume the run in it, or overwrite it"
            )
        saved_config(folder)
        foreign = sorted(p.name for p in folder.iterdir() if not _is_ours(p))
        if foreign:
            raise ValueError(f"{folder} holds {foreign[0]!r}, which no run writes: move it elsewhere first")


def clear(folder: Path) -> None:
    """Remove a run's own files, and make the folder if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in filter(_is_ours, sorted(folder.iterdir())):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_ours(path: Path) -> bool:
    return path.name.removeprefix(".").removesuffix(".new") in OURS


def describe_run(folder: Path, config: TrainConfig, tokenizer: Tokenizer) -> None:
    """Write config.json and tokenizer.json into the run folder, each whole or not at all."""
    new = folder / f".{CONFIG}.new"
    new.write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")
    new.replace(folder / CONFIG)
    new = folder / f".{TOKENIZER}.new"
    tokenizer.save(new)
    new.replace(folder / TOKENIZER)


def find_checkpoint(source: Path) -> Checkpoint | None:
    """The checkpoint at `source`, or the newest of the run there; None if it has none yet."""
    if (source / "manifest.json").exists():
        return load_checkpoint(source)
    return latest_checkpoint(source)


def check_resumable(config: TrainConfig, checkpoint: Checkpoint) -> None:
    """Whether `config` may go on from the checkpoint; warns where its numbers will not be a straight run's.

    `FREE` fields may change. A new number of steps moves the horizon of the schedule: from here on the
    rates are those the new schedule has at this step.

    Raises:
        ValueError: a field differs that would make it another run; or it has taken as many steps as asked
        for.
    """
    if "progress" not in checkpoint.state:
        raise ValueError(
            f"{checkpoint.path} holds weights and no state of a training run (it was imported): "
            "there is nothing to go on with exactly"
        )
    old = config_from(checkpoint.config)
    step = checkpoint.state["progress"]["step"]
    changed = differences(to_dict(old), to_dict(config))
    refused = {name: pair for name, pair in changed.items() if name not in FREE | ROUNDING}
    if refused:
        listed = "; ".join(f"{name} was {was!r}, now {now!r}" for name, (was, now) in refused.items())
        raise ValueError(
            f"{checkpoint.path} cannot be resumed with this config: {listed}. "
            f"Keep them, or start a new run. What may change: {', '.join(sorted(FREE | ROUNDING))}"
        )
    if config.loop.steps < step:
        raise ValueError(
            f"steps is {config.loop.steps}: expected at least the {step} that {checkpoint.path} has taken"
        )
    rounding = sorted(changed.keys() & ROUNDING)
    if rounding:
        warnings.warn(
            f"resuming with another {', '.join(rounding)}: the run goes on soundly, but not bit-identically",
            stacklevel=2,
        )
    if old.loop.steps != config.loop.steps:
        was, now = (factor(c.schedule, step, c.loop.steps) for c in (old, config))
        warnings.warn(
            f"steps changed from {old.loop.steps} to {config.loop.steps}: the schedule now ends there, and "
            f"the rates at this step go from {was:.3g} to {now:.3g} of their peak",
            stacklevel=2,
        )


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Fields that differ between two nested dictionaries, by dotted name. Example: {"loop.seed": (1, 2)}."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in old.keys() | new.keys():
        was, now = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            found |= differences(was, now, f"{prefix}{key}.")
        elif was != now:
            found[prefix + key] = (was, now)
    return dict(sorted(found.items()))
