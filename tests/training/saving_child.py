"""Run by test_checkpoints_disk.py as a process of its own, since it kills, limits and demotes itself.

`saving_child.py SCENARIO FOLDER` prints one JSON object.
"""

import json
import os
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from trueformer.training.callbacks.json_lines import JsonLines
from trueformer.training.checkpoints import latest_checkpoint, save_checkpoint
from trueformer.training.folders import checkpoint_folders, checkpoint_path
from trueformer.training.retention import prune, verifies

WIDTH = 1 << 16


def save(run: Path, step: int, config: dict | None = None) -> Path:
    tensor = torch.full((WIDTH,), float(step))
    return save_checkpoint(
        checkpoint_path(run, step),
        model_tensors={"w": tensor},
        optimizer_tensors={"m": -tensor},
        state={"step": step},
        config=config or {},
        tokenizer=None,
    )


def attempt(call: Callable[[], object]) -> str:
    """The kind and text of the error that `call` raises, or what it returns."""
    try:
        return repr(call())
    except Exception as error:  # noqa: BLE001 - whatever it is goes back to the test
        return f"{type(error).__name__}: {error}"


def visible(run: Path) -> list[str]:
    return sorted(p.name for p in (run / "checkpoints").iterdir())


def train_until_killed(run: Path, acknowledge: int) -> None:
    """What a run does, and nothing but saving: resume, save, replace every third, prune, for ever."""
    found = latest_checkpoint(run)
    step = found.state["step"] if found else 0
    while True:
        step += 1
        for _ in range(2 if step % 3 == 0 else 1):
            save(run, step)
            os.write(acknowledge, step.to_bytes(8, "little"))
        prune(run, keep_last=2)


def kill(run: Path) -> dict:
    """Forty times: fork a run, SIGKILL it at a random moment, and look at what can be resumed."""
    generator = random.Random(0)
    acknowledged, interrupted, steps = 0, 0, []
    began = time.monotonic()
    save(run, 1)
    latest_checkpoint(run)
    usual = time.monotonic() - began
    for _ in range(40):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                train_until_killed(run, writer)
            except BaseException:  # noqa: BLE001 - a forked copy must not go on as if it were the parent
                traceback.print_exc()
                os._exit(1)
        os.close(writer)
        time.sleep(generator.uniform(0, 4 * usual))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the child ended by itself"
        with os.fdopen(reader, "rb") as pipe:
            data = pipe.read()
        if data:
            acknowledged = int.from_bytes(data[-8:], "little")
        interrupted += any(name.startswith(".saving") for name in visible(run))
        found = latest_checkpoint(run)
        assert found is not None, "a finished save is gone"
        steps.append(found.state["step"])
        assert steps[-1] >= acknowledged, f"step {acknowledged} was saved, {steps[-1]} is what is left"
        assert found.model_tensors["w"].eq(steps[-1]).all()
        assert found.optimizer_tensors["m"].eq(-steps[-1]).all()
        assert all(verifies(folder) for folder in checkpoint_folders(run)), "a half-removed one is in sight"
    save(run, 10_000)
    prune(run, keep_last=2)
    return {"interrupted": interrupted, "last": steps[-1], "left": visible(run)}


def limit(run: Path) -> dict:
    """The kernel ends a file at a limit, wherever in the save that is: always an OSError that says so."""
    save(run, 1)
    errors = {}
    for size in [0, 1, 100, 4096, WIDTH, WIDTH * 4 - 1, WIDTH * 4 + 50]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        errors[size] = attempt(lambda: save(run, 2))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert visible(run) == ["step-00000001"], "a failed save left something"
    found = latest_checkpoint(run)
    return {
        "errors": errors,
        "latest": found and found.state["step"],
        "after": attempt(lambda: save(run, 2).name),
    }


def unprivileged(run: Path) -> dict:
    """As an ordinary user: what cannot be written, cannot be read, cannot be removed."""
    if os.getuid() == 0:
        os.chown(run, 65534, 65534)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    for step in (1, 2, 3):
        save(run, step)
    root, result = run / "checkpoints", {}
    root.chmod(0o555)
    result["save in a read-only folder"] = attempt(lambda: save(run, 4))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result["prune a read-only folder"] = attempt(lambda: prune(run, keep_last=1))
    result["prune warnings"] = [str(w.message) for w in caught]
    result["still there"] = visible(run)
    root.chmod(0o000)
    result["look into an unreadable folder"] = attempt(lambda: latest_checkpoint(run))
    result["list an unreadable folder"] = attempt(lambda: prune(run, keep_last=1))
    root.chmod(0o755)
    newest = checkpoint_path(run, 3)
    (newest / "model.safetensors").chmod(0o000)
    result["read an unreadable file"] = attempt(lambda: latest_checkpoint(run))
    (newest / "model.safetensors").chmod(0o644)
    newest.chmod(0o000)
    result["read an unreadable checkpoint"] = attempt(lambda: latest_checkpoint(run))
    newest.chmod(0o755)
    run.chmod(0o555)
    result["metrics in a read-only folder"] = attempt(lambda: JsonLines(run / "metrics.jsonl", 0))
    return result


def full(run: Path) -> dict:
    """On 8 MB of disk: refused before writing when tensors do not fit, undone when the rest does not."""
    save(run, 1)
    before = attempt(lambda: save_large(run))
    middle = attempt(lambda: save(run, 2, config={"filler": "x" * (8 << 20)}))
    found = latest_checkpoint(run)
    return {"before": before, "middle": middle, "latest": found and found.state["step"], "left": visible(run)}


def save_large(run: Path) -> Path:
    return save_checkpoint(
        checkpoint_path(run, 2),
        model_tensors={"w": torch.zeros(2 << 20)},
        optimizer_tensors={},
        state={},
        config={},
        tokenizer=None,
    )


if __name__ == "__main__":
    warnings.simplefilter("error")
    print(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]))))
