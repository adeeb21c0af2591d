"""No checkpoint, only damaged ones, and a folder that cannot be read are three different answers."""

import random
import tempfile
from pathlib import Path

import torch

from trueformer.training.checkpoints import latest_checkpoint, save_checkpoint
from trueformer.training.folders import checkpoint_folders, checkpoint_path


def probe(pick: random.Random) -> None:
    """None where there is nothing, the newest whole one where there is one, and an error in both other cases."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        assert latest_checkpoint(run) is None
        steps = sorted(pick.sample(range(99), 3))
        for step in steps:
            parts = {"model_tensors": {"w": torch.ones(2)}, "optimizer_tensors": {"m": torch.ones(2)}}
            save_checkpoint(
                checkpoint_path(run, step), **parts, state={"step": step}, config={}, tokenizer=None
            )
        for left in (2, 1):
            (checkpoint_path(run, steps[left]) / "state.json").write_bytes(b"{")
            found = latest_checkpoint(run)
            assert found is not None
            assert found.state == {"step": steps[left - 1]}
        (checkpoint_path(run, steps[0]) / pick.choice(["state.json", "model.safetensors"])).unlink()
        _fails(lambda: latest_checkpoint(run), ValueError)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "checkpoints").write_bytes(b"no folder")
        _fails(lambda: checkpoint_folders(Path(name)), OSError)
        _fails(lambda: latest_checkpoint(Path(name)), OSError)


def _fails(action, kind: type[Exception]) -> None:
    try:
        action()
    except kind:
        return
    raise AssertionError("an answer where there is none")
