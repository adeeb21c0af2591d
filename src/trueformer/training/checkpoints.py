"""Checkpoints: what a run needs to go on exactly, in a folder that is whole or not there, without pickle.

    RUN/checkpoints/step-00000250/
        model.safetensors  optimizer.safetensors  state.json  config.json  tokenizer.json  manifest.json

A save writes a hidden sibling folder, forces every file and the folder to disk, and renames it: a process
killed at any point leaves the checkpoints that were there before untouched. A second save of one step
replaces the first.

Leaves out the model: tensors come in and go out by name. What makes a folder believable is `manifest.py`,
how it gets its name and loses it `folders.py`, which ones are kept `retention.py`.
"""

import errno
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from trueformer.tokenization.protocol import Tokenizer
from trueformer.training import manifest as files
from trueformer.training.folders import (
    checkpoint_folders,
    move_into_place,
    refuse_foreign,
    remove_leftovers,
    temporary_sibling,
)
from trueformer.training.manifest import DamagedCheckpointError

MARGIN = 4 << 20  # bytes to spare beyond the tensors: headers, JSON, block rounding, the metrics to come


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A checkpoint that was verified and is in memory."""

    path: Path
    model_tensors: dict[str, Tensor] = field(repr=False)
    optimizer_tensors: dict[str, Tensor] = field(repr=False)  # empty when loaded with optimizer=False
    state: dict[str, Any] = field(repr=False)
    config: dict[str, Any] = field(repr=False)
    tokenizer_path: Path | None


def save_checkpoint(
    folder: Path,
    *,
    model_tensors: Mapping[str, Tensor],
    optimizer_tensors: Mapping[str, Tensor],
    state: dict[str, Any],
    config: dict[str, Any],
    tokenizer: Tokenizer | None,
) -> Path:
    """Write the checkpoint `folder` (see `checkpoint_path`), whole or not at all; tied tensors once.

    Raises:
        OSError: the disk has too little space (says how much is needed and free), or cannot be written.
        FileExistsError: `folder` exists and holds something that no checkpoint has.
    """
    refuse_foreign(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder.parent)
        tensors = {files.MODEL: model_tensors, files.OPTIMIZER: optimizer_tensors}
        aliases = {name: _aliases(group) for name, group in tensors.items()}
        kept = {n: {k: t for k, t in group.items() if k not in aliases[n]} for n, group in tensors.items()}
        _check_space(folder.parent, sum(t.nbytes for group in kept.values() for t in group.values()))
        with temporary_sibling(folder) as temporary:
            files.write_json(temporary / files.STATE, state)
            for name, group in kept.items():
                _save_tensors(_on_their_own(group), temporary / name)
                # safetensors 0.8 makes files for their owner alone; these are for whom the others are for.
                shutil.copymode(temporary / files.STATE, temporary / name)
            files.write_json(temporary / files.CONFIG, config)
            if tokenizer is not None:
                tokenizer.save(temporary / files.TOKENIZER)
            files.write_manifest(temporary, aliases)
            move_into_place(temporary, folder)
    except OSError as error:
        raise OSError(error.errno, f"cannot save the checkpoint {folder}: {error.strerror}") from error
    return folder


def load_checkpoint(path: Path, *, optimizer: bool = True) -> Checkpoint:
    """Verify the checkpoint folder `path` and load it; `optimizer=False` leaves that half alone, unverified.

    Raises:
        DamagedCheckpointError: the folder or a file is missing, too large, or differs from the manifest.
        OSError: the disk or its permissions prevent reading.
    """
    try:
        manifest = files.read_manifest(path)
        wanted = {n: stated for n, stated in manifest["files"].items() if optimizer or n != files.OPTIMIZER}
        required = {files.MODEL, files.STATE, files.CONFIG} | ({files.OPTIMIZER} if optimizer else set())
        if required - wanted.keys():
            raise DamagedCheckpointError(f"{path / files.MANIFEST} lists no {min(required - wanted.keys())}")
        files.verify(path, wanted)
        checkpoint = Checkpoint(
            path=path,
            model_tensors=_load_tensors(path, files.MODEL, manifest),
            optimizer_tensors=_load_tensors(path, files.OPTIMIZER, manifest) if optimizer else {},
            state=files.read_json(path / files.STATE),
            config=files.read_json(path / files.CONFIG),
            tokenizer_path=path / files.TOKENIZER if files.TOKENIZER in wanted else None,
        )
        if files.read_manifest(path) != manifest:
            raise DamagedCheckpointError(f"{path} was replaced while it was read")
        return checkpoint
    except FileNotFoundError as error:
        raise DamagedCheckpointError(f"{path} went away while it was read: {error}") from error
    except OSError as error:
        raise OSError(error.errno, f"cannot read the checkpoint {path}: {error.strerror}") from error


def latest_checkpoint(run_folder: Path, *, optimizer: bool = True) -> Checkpoint | None:
    """The newest checkpoint that verifies, loaded; None only where there is none at all.

    Damaged newer ones are passed over with a warning each that says what is wrong.

    Raises:
        DamagedCheckpointError: there are checkpoints and none verifies.
        OSError: the disk or its permissions prevent looking.
    """
    damage: list[str] = []
    tried: set[Path] = set()
    # Listed again after a failure: a run in progress may have saved a new one and removed what was listed.
    while folders := [folder for folder in checkpoint_folders(run_folder) if folder not in tried]:
        for folder in folders:
            tried.add(folder)
            try:
                checkpoint = load_checkpoint(folder, optimizer=optimizer)
            except DamagedCheckpointError as error:
                damage += [str(error)] if folder.exists() else []
                continue
            for line in damage:
                warnings.warn(f"damaged checkpoint, going back to {folder.name}: {line}", stacklevel=2)
            return checkpoint
    if damage:
        raise DamagedCheckpointError(
            f"{run_folder} has {len(damage)} checkpoints and none can be used; the newest: {damage[0]}. "
            "Start again in another folder, or restore one from a copy."
        )
    return None


def check_same_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    """Compare names and shapes, before anything is copied.

    Raises:
        ValueError: they differ; names the first few keys and shapes that do.
    """
    differ = [
        f"{name} is {_shape(found[name])}, expected {_shape(tensor)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    missing = [f"{name} {_shape(expected[name])} is missing" for name in expected if name not in found]
    extra = [f"{name} {_shape(found[name])} is not expected" for name in found if name not in expected]
    problems = differ + missing + extra
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(
            f"{where} was made by another architecture: {'; '.join(problems[:4])}{more}. "
            "Build the model from the config.json saved beside the tensors."
        )


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(map(str, tensor.shape)) + ")"


def _aliases(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Further names of tensors met before under another: alias → first name."""
    first: dict[tuple, str] = {}
    aliases = {}
    for name, tensor in tensors.items():
        identity = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if first.setdefault(identity, name) != name:
            aliases[name] = first[identity]
    return aliases


def _on_their_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous, each in memory of its own, as safetensors wants them."""
    storages: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or storage.data_ptr() in storages:
            tensor = tensor.clone()  # a view of something larger, or of something already there
        storages.add(tensor.untyped_storage().data_ptr())
        result[name] = tensor
    return result


def _check_space(folder: Path, tensor_bytes: int) -> None:
    needed, free = tensor_bytes + MARGIN, shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{needed / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB are free on the disk of {folder}: "
            "free some, or keep fewer checkpoints",
        )


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        safetensors.torch.save_file(tensors, path)
    except SafetensorError as error:
        # The library reports the system's error in words only; its number decides which OSError it is.
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), f"{os.strerror(int(number[1]))} ({path.name})") from error


def _load_tensors(folder: Path, name: str, manifest: dict[str, Any]) -> dict[str, Tensor]:
    try:
        tensors = safetensors.torch.load_file(folder / name)
        return tensors | {alias: tensors[kept] for alias, kept in manifest["aliases"][name].items()}
    except (SafetensorError, KeyError) as error:
        raise DamagedCheckpointError(f"{folder / name} is no safetensors file of ours: {error}") from error
