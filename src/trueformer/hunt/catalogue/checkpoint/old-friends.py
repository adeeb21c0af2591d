"""Loading a checkpoint runs nothing of what is in it, even where its checksums are those of its author."""

import contextlib
import random
import tempfile
from pathlib import Path

import torch

from trueformer.training.checkpoints import load_checkpoint, save_checkpoint
from trueformer.training.folders import checkpoint_path
from trueformer.training.manifest import write_manifest


def probe(pick: random.Random) -> None:
    """Programs that call functions of Python, of the system, and of what torch imports; a whole one loads."""
    tensors = {"model_tensors": {"w": torch.randn(3)}, "optimizer_tensors": {"m": torch.randn(3)}}
    with tempfile.TemporaryDirectory() as name:
        folder, trap = checkpoint_path(Path(name), pick.randrange(99)), Path(name) / f"trap{pick.random()}"
        save_checkpoint(folder, **tensors, state={"a": 1}, config={}, tokenizer=None)
        aliases = {"model.safetensors": {}, "optimizer.safetensors": {}}
        made = f"__import__('os').mkdir({str(trap)!r})"
        programs = [("builtins", "exec", made), ("builtins", "eval", made), ("posix", "mkdir", str(trap))]
        programs += [("torch.serialization", "os.mkdir", str(trap)), ("os", "mkdir", str(trap))]
        for place in ("model", "optimizer"):
            whole = (folder / f"{place}.safetensors").read_bytes()
            for program in programs:
                (folder / f"{place}.safetensors").write_bytes(_calling(*program))
                write_manifest(folder, aliases)
                with contextlib.suppress(ValueError, OSError):
                    load_checkpoint(folder)
                    raise AssertionError("a program was loaded as tensors")
                assert not trap.exists(), program[:2]
            (folder / f"{place}.safetensors").write_bytes(whole)
            write_manifest(folder, aliases)
        found = load_checkpoint(folder)
    assert torch.equal(found.model_tensors["w"], tensors["model_tensors"]["w"])


def _calling(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls a function with one text, and holds an empty dictionary."""
    words = [bytes([0x8C, len(text.encode())]) + text.encode() for text in (module, name)]
    body = argument.encode()
    return (
        b"\x80\x04" + b"".join(words) + b"\x93" + b"X" + len(body).to_bytes(4, "little") + body + b"\x85R0}."
    )
