"""A checkpoint in which one bit of any file has changed is refused."""

import random
import tempfile
from pathlib import Path

import torch

from trueformer.tokenization.characters import train_characters
from trueformer.training.checkpoints import load_checkpoint, save_checkpoint
from trueformer.training.folders import checkpoint_path


def probe(pick: random.Random) -> None:
    """Each file in turn, at a place near its end where the numbers are; unchanged, it loads."""
    shape = (pick.randrange(20, 40), pick.randrange(20, 40))
    tensors = {name: {"weight": torch.randn(shape)} for name in ("model_tensors", "optimizer_tensors")}
    with tempfile.TemporaryDirectory() as name:
        folder = checkpoint_path(Path(name), 5)
        save_checkpoint(
            folder, **tensors, state={"a": 1}, config={"b": 2}, tokenizer=train_characters(["ab"])
        )
        for path in sorted(folder.iterdir()):
            whole = path.read_bytes()
            changed = bytearray(whole)
            changed[-pick.randrange(2, len(whole) // 2)] ^= 1 << pick.randrange(7)
            path.write_bytes(bytes(changed))
            try:
                load_checkpoint(folder)
            except ValueError:
                pass
            else:
                raise AssertionError(f"a changed {path.name} was loaded")
            path.write_bytes(whole)
        assert torch.equal(
            load_checkpoint(folder).model_tensors["weight"], tensors["model_tensors"]["weight"]
        )
