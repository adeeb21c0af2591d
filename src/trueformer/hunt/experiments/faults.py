"""Does to the project what goes wrong in practice: bad arguments, damaged files, an interrupted save. 1: as it should be."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.training.checkpoints import latest_checkpoint
from trueformer.training.folders import checkpoint_folders
from trueformer.training.manifest import write_manifest

from .pretrain import trainer
from .report import Findings

REFUSALS = (ValueError, OSError)
SMALL = {"vocab_size": 20, "max_len": 8, "d_model": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2}


class Trap:
    """What runs when a pickle of it is loaded."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (os.environ["TRAP"],)


class PlainTrap:
    """The same with nothing but Python's own functions."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return exec, (f"import os; os.mkdir({os.environ['TRAP']!r})",)


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """For each fault, 1 where it is refused or survived."""
    model = DecoderLM(DecoderConfig(**SMALL), backend="plain").eval()
    ids = torch.zeros(2, 4, dtype=torch.long)
    refused = {
        "empty_input": lambda: model(ids[:, :0]),
        "input_beyond_max_len": lambda: model(torch.zeros(1, 9, dtype=torch.long)),
        "ids_beyond_the_vocabulary": lambda: model(ids + 20),
        "mask_of_another_shape": lambda: model(ids, key_valid_BS=torch.ones(4, 2, dtype=torch.bool)),
        "heads_that_do_not_divide": lambda: DecoderLM(
            DecoderConfig(**{**SMALL, "n_heads": 3, "n_kv_heads": 3})
        ),
        "key_heads_that_do_not_divide": lambda: DecoderLM(
            DecoderConfig(**{**SMALL, "n_heads": 4, "n_kv_heads": 3})
        ),
        "odd_head": lambda: DecoderLM(DecoderConfig(**{**SMALL, "head_dim": 7})),
        "negative_temperature": lambda: SamplingConfig(temperature=-1.0),
        "top_p_of_zero": lambda: SamplingConfig(top_p=0.0),
        "too_little_text": lambda: trainer({"loop": {"batch_size": 2048}}, seed, folder / "little"),
    }
    numbers = {f"refuses_{name}": float(_refuses(action)) for name, action in refused.items()}
    return Findings(numbers={**numbers, **_checkpoints(settings, seed, folder)})


def _refuses(action: Callable[[], Any]) -> bool:
    try:
        action()
    except REFUSALS:
        return True
    except Exception:  # noqa: BLE001 - a crash far from the cause is no refusal
        return False
    return False


def _checkpoints(settings: dict[str, Any], seed: int, folder: Path) -> dict[str, float]:
    run, _ = trainer({**settings, "loop": {"steps": 12, "eval_every": 12}}, seed, folder / "run")
    for _ in range(2):
        run.step()
        run.save()
    newest, older = checkpoint_folders(folder / "run")[:2]
    files = sorted(path for path in newest.iterdir() if path.suffix == ".safetensors")
    whole = {path: path.read_bytes() for path in newest.iterdir()}
    numbers = {"newest_is_found": float(_found(folder) == newest.name)}
    _damage(files[0])
    numbers["damage_is_noticed"] = float(_found(folder) == older.name)
    for path, data in whole.items():
        path.write_bytes(data)
    numbers["interrupted_save_leaves_the_old"] = float(_interrupted(run, newest))
    numbers["stranger_is_refused"] = float(_stranger(newest, seed, folder))
    numbers["pickle_runs_nothing"] = float(_pickle(files[0], folder))
    for path, data in whole.items():
        path.write_bytes(data)
    numbers["other_depth_is_refused"] = float(all(_of_depth(n, newest, seed, folder) for n in (1, 3)))
    numbers["hostile_checkpoint_runs_nothing"] = float(_hostile(newest, folder))
    numbers["damage_everywhere_is_told"] = float(_damaged_everywhere(folder))
    numbers["unreadable_folder_is_told"] = float(_unreadable(folder))
    return numbers


def _found(folder: Path) -> str:
    try:
        checkpoint = latest_checkpoint(folder / "run")
    except REFUSALS:
        return ""
    return "" if checkpoint is None else checkpoint.path.name


def _damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 0xFF
    path.write_bytes(data)


def _interrupted(run: Any, newest: Path) -> bool:
    """Whether a save that is interrupted at its first or second file leaves the checkpoint of the same step as it was."""
    before = {path.name: path.read_bytes() for path in newest.iterdir()}
    tokenizer, save = run.data.tokenizer, type(run.data.tokenizer).save

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    type(tokenizer).save = fail
    try:
        run.save()
    except KeyboardInterrupt:
        pass
    finally:
        type(tokenizer).save = save
    return newest.is_dir() and {path.name: path.read_bytes() for path in newest.iterdir()} == before


def _stranger(newest: Path, seed: int, folder: Path) -> bool:
    """Whether a checkpoint of another shape is refused and changes nothing."""
    other, _ = trainer({"d_model": 32, "n_layers": 3, "loop": {"steps": 12}}, seed, folder / "other")
    before = [p.detach().clone() for p in other.model.parameters()]
    checkpoint = latest_checkpoint(newest.parent.parent)
    refused = checkpoint is not None and _refuses(lambda: other.load(checkpoint))
    return refused and all(torch.equal(a, b) for a, b in zip(before, other.model.parameters(), strict=True))


def _pickle(path: Path, folder: Path) -> bool:
    """Whether a pickle in the place of weights is not run."""
    trap = folder / "trap"
    os.environ["TRAP"] = str(trap)
    path.write_bytes(pickle.dumps(Trap()))
    _found(folder)
    return not trap.exists()


def _of_depth(n_layers: int, newest: Path, seed: int, folder: Path) -> bool:
    """Whether a run with fewer or more layers refuses the checkpoint."""
    other, _ = trainer({"n_layers": n_layers, "loop": {"steps": 12}}, seed, folder / "other")
    checkpoint = latest_checkpoint(newest.parent.parent)
    return checkpoint is not None and _refuses(lambda: other.load(checkpoint))


def _hostile(newest: Path, folder: Path) -> bool:
    """Whether nothing is run of a checkpoint whose author wrote the checksums too."""
    trap, aliases = folder / "second-trap", {"model.safetensors": {}, "optimizer.safetensors": {}}
    os.environ["TRAP"] = str(trap)
    for kind in (Trap, PlainTrap):
        (newest / "model.safetensors").write_bytes(pickle.dumps(kind()))
        write_manifest(newest, aliases)
        _found(folder)
    return not trap.exists()


def _damaged_everywhere(folder: Path) -> bool:
    """Whether a run whose checkpoints are all damaged is told so, and not begun anew."""
    for path in checkpoint_folders(folder / "run"):
        _damage(path / "state.json")
    return _refuses(lambda: latest_checkpoint(folder / "run"))


def _unreadable(folder: Path) -> bool:
    """Whether a folder that cannot be looked into is told of, and not taken for an empty one."""
    place = folder / "unreadable"
    place.mkdir()
    (place / "checkpoints").write_text("a disk that is not mounted", encoding="utf-8")
    return _refuses(lambda: latest_checkpoint(place))
