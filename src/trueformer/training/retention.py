"""Which checkpoints of a run are kept: the best by validation loss, and the last few that verify.

`RUN/checkpoints/best.json` names the best. Leaves out when to save: see `callbacks/checkpoint.py`.
"""

import re
import warnings
from pathlib import Path

from trueformer.training.folders import checkpoint_folders, discard, superseded, sync_folder
from trueformer.training.manifest import (
    DamagedCheckpointError,
    read_json,
    read_manifest,
    verify,
    write_json,
)


def mark_best(checkpoint: Path, loss: float) -> None:
    """Name `checkpoint` as its run's best; `loss` is its validation loss in nats a token."""
    path = checkpoint.parent / "best.json"
    new = path.with_name(".best.json.new")
    write_json(new, {"checkpoint": checkpoint.name, "loss": loss})
    new.replace(path)
    sync_folder(path.parent)


def best_checkpoint(run_folder: Path) -> Path | None:
    """The checkpoint marked as best, unverified; None where none was marked.

    Raises:
        DamagedCheckpointError: best.json is damaged, or the checkpoint it names is gone.
        OSError: the disk or its permissions prevent looking.
    """
    path = run_folder / "checkpoints" / "best.json"
    try:
        path.lstat()
        name = read_json(path).get("checkpoint")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OSError(error.errno, f"cannot look for checkpoints in {path}: {error.strerror}") from error
    if not isinstance(name, str) or not re.fullmatch(r"step-\d{8,}", name):
        raise DamagedCheckpointError(f"{path} names {name!r}: expected a checkpoint such as step-00000250")
    if not (path.parent / name).is_dir():
        raise DamagedCheckpointError(f"{path} names {name}, which is not there")
    return path.parent / name


def prune(run_folder: Path, *, keep_last: int) -> list[Path]:
    """Remove all checkpoints but the best, the newest `keep_last` that verify, and anything newer than those.

    Nothing is removed unless one that stays was verified just now. What cannot be removed is warned about.
    Returns what was removed.
    """
    assert keep_last >= 1
    try:
        best = best_checkpoint(run_folder)
    except DamagedCheckpointError as error:
        warnings.warn(f"no checkpoint is removed, since the best one is not known: {error}", stacklevel=2)
        return []
    good, old = 0, []
    for folder in checkpoint_folders(run_folder):
        if superseded(folder) or good >= keep_last:
            old.append(folder)
        else:
            good += verifies(folder)
    if not good:
        return []
    return [folder for folder in old if folder != best and discard(folder)]


def verifies(folder: Path) -> bool:
    """Whether every file of the checkpoint `folder` is there and matches the manifest."""
    try:
        verify(folder, read_manifest(folder)["files"])
    except DamagedCheckpointError:
        return False
    return True
