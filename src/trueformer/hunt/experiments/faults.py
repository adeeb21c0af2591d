"""What goes wrong in practice: bad arguments, damaged files, an interrupted save. 1: as it should be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.training.checkpoints import latest_checkpoint
from trueformer.training.folders import checkpoint_folders

from .pretrain import trainer
from .report import Findings

REFUSALS = (ValueError, OSError)
SMALL = {"vocab_size": 20, "max_len": 8, "d_model": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2}


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
        "mask_of_one_column": lambda: model(ids, key_valid_BS=torch.ones(2, 1, dtype=torch.bool)),
        "heads_that_leave_a_rest": lambda: DecoderLM(
            DecoderConfig(**{**SMALL, "d_model": 20, "n_heads": 3, "n_kv_heads": 3})
        ),
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
    path.write_bytes(b"cos\nmkdir\n(V" + str(trap).encode() + b"\ntR.")  # unpickled, it makes this folder
    _found(folder)
    return not trap.exists()
