"""A save that ends too early, wherever it does, leaves the checkpoint of the same step as it was."""

import random
import tempfile
from pathlib import Path
from typing import Any

import torch

from trueformer.tokenization.characters import train_characters
from trueformer.training.checkpoints import load_checkpoint, save_checkpoint
from trueformer.training.folders import checkpoint_path


class Failing:
    """A tokenizer that cannot be written."""

    def save(self, path: Path) -> None:
        """Ends the process, as a signal does."""
        raise KeyboardInterrupt


def probe(pick: random.Random) -> None:
    """A second save fails over a tensor, over JSON, or over the tokenizer: the first one still loads."""
    shape = (pick.randrange(1, 9), pick.randrange(1, 9))
    parts: dict[str, Any] = {
        "model_tensors": {"weight": torch.randn(shape)},
        "optimizer_tensors": {"mean": torch.randn(shape)},
        "state": {"step": pick.randrange(99)},
        "config": {"width": shape[1]},
        "tokenizer": train_characters(["ab"]),
    }
    faults: list[dict[str, Any]] = [
        {"tokenizer": Failing()},
        {"state": {"step": object()}},
        {"config": {"width": object()}},
        {"model_tensors": {"weight": "none"}},
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = checkpoint_path(Path(name), pick.randrange(500))
        save_checkpoint(folder, **parts)
        for fault in faults:
            try:
                save_checkpoint(folder, **{**parts, **fault})
            except (KeyboardInterrupt, TypeError, AttributeError, ValueError):
                pass
            else:
                raise AssertionError("a save that could not be finished told nobody")
            found = load_checkpoint(folder)
            assert torch.equal(found.model_tensors["weight"], parts["model_tensors"]["weight"])
            assert found.state == parts["state"]
        save_checkpoint(folder, **{**parts, "state": {"step": -1}})
        assert load_checkpoint(folder).state == {"step": -1}
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
