"""Two real processes under torchrun, on gloo, against one process with the same global batch."""

import json
import os
import subprocess
import sys

import pytest
import torch

from trueformer.config import to_dict
from trueformer.data.config import DataConfig
from trueformer.data.shards import prepare
from trueformer.training.callbacks.json_lines import read_json_lines
from trueformer.training.checkpoints import load_checkpoint
from trueformer.training.distributed import (
    World,
    gathered,
    joined_world,
    main_first,
    summed,
    without_sync,
    wrap,
)
from trueformer.training.folders import checkpoint_folders, checkpoint_path
from trueformer.training.run import train

PATIENCE = 180  # seconds; a run takes a tenth of it on an idle machine
SCRIPT = """
import gc, json, os, signal, sys
from pathlib import Path
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from trueformer.config import from_dict
from trueformer.training.callbacks.protocol import Callback
from trueformer.training.config import RunConfig
from trueformer.training.run import train

class StopRankOne(Callback):
    name = "stop_rank_one"
    def __init__(self, at):
        self.at = at
    def on_gradients(self, step):
        if step == self.at and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)

leave, wrapped = dist.destroy_process_group, []
def leave_and_count():
    wrapped.append(sum(type(thing) is DistributedDataParallel for thing in gc.get_objects()))
    leave()
dist.destroy_process_group = leave_and_count

torch.set_num_threads(1)
config = from_dict(RunConfig, json.loads(sys.argv[1]))
out, resume, stop_at = Path(sys.argv[2]), sys.argv[3] == "resume", int(sys.argv[4])
result = train(config, out, resume=resume, callbacks=[StopRankOne(stop_at)])
said = {
    "step": result.step, "reason": result.reason, "exit_code": result.exit_code, "loss": result.loss,
    "bits": result.evaluation.bits_per_byte if result.evaluation else None,
    "wrapped_at_leaving": wrapped,
}
Path(f"{out}-rank{os.environ['RANK']}.json").write_text(json.dumps(said))
"""


@pytest.fixture
def config(tmp_path, tiny_config):
    def make(**changes):
        text = [
            {"text": f"{a} and {b} went up the hill {n}."} for n in range(60) for a, b in ["jj", "ab", "xy"]
        ]
        (tmp_path / "text.jsonl").write_text("\n".join(map(json.dumps, text)))
        data = {"source": str(tmp_path / "text.jsonl"), "tokenizer": "char", "cache": str(tmp_path / "cache")}
        size = prepare(DataConfig(**data)).tokenizer.vocab_size
        model = {"vocab_size": size} | changes.pop("model", {})
        return tiny_config(model=model, data=data, **changes)

    return make


def torchrun(config, out, *, resume=False, stop_at=0):
    """Run SCRIPT in two processes; returns what each rank said of its result."""
    script = out.parent / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script]
    arguments = [json.dumps(to_dict(config)), out, "resume" if resume else "start", str(stop_at)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command + arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            _, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends its ranks, by force where they wait for each other
            process.wait(timeout=60)
            raise
    assert process.returncode == 0, errors[-4000:]
    return [json.loads((out.parent / f"{out.name}-rank{rank}.json").read_text()) for rank in range(2)]


def logged(folder, event="step"):
    return [r for r in read_json_lines(folder / "metrics.jsonl") if r["event"] == event]


def test_two_processes_train_as_one_does(config, tmp_path):
    """Same global batch of 4, in micro-batches of 1. Tolerance: float32 sums in another order, 12 steps."""
    changed = config(loop={"micro_batch_size": 1})
    first, second = torchrun(changed, tmp_path / "two")
    assert first == second
    assert first["wrapped_at_leaving"] == [0]  # else the process may hang: see joined_world
    one = train(changed, tmp_path / "one")
    losses = [[r["loss"] for r in logged(tmp_path / name)] for name in ("one", "two")]
    assert len(losses[1]) == 12
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    tokens = [[r["tokens"] for r in logged(tmp_path / name)] for name in ("one", "two")]
    assert tokens[0] == tokens[1]
    assert first["bits"] == pytest.approx(one.evaluation.bits_per_byte, rel=1e-4)
    ends = [load_checkpoint(checkpoint_path(tmp_path / name, 12)) for name in ("one", "two")]
    for name, tensor in ends[0].model_tensors.items():
        torch.testing.assert_close(ends[1].model_tensors[name], tensor, rtol=1e-2, atol=1e-3)
    assert len(ends[1].state["rng"]) == 2


def test_all_processes_stop_together_when_one_is_told_to(config, tmp_path):
    """Only rank 1 gets the signal; both finish step 3, one checkpoint is saved, and rank 0 alone wrote."""
    said = torchrun(config(), tmp_path / "run", stop_at=3)
    assert [(s["step"], s["reason"], s["exit_code"]) for s in said] == [(3, "SIGTERM", 143)] * 2
    assert [p.name for p in checkpoint_folders(tmp_path / "run")] == ["step-00000003"]
    assert [r["step"] for r in logged(tmp_path / "run")] == [1, 2, 3]


@pytest.mark.slow
def test_two_processes_resume_bit_for_bit(config, tmp_path):
    """With dropout, so that the randomness of each rank matters."""
    changed = config(model={"dropout": 0.2})
    torchrun(changed, tmp_path / "straight")
    torchrun(changed, tmp_path / "broken", stop_at=5)
    torchrun(changed, tmp_path / "broken", resume=True)
    ends = [load_checkpoint(checkpoint_path(tmp_path / name, 12)) for name in ("straight", "broken")]
    for one, other in zip(*([e.model_tensors, e.optimizer_tensors] for e in ends), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert ends[0].state["rng"] == ends[1].state["rng"]


def test_alone_everything_is_its_own_sum():
    world = World()
    assert world.is_main
    assert summed([1, 2.5], world) == [1.0, 2.5]
    assert gathered(b"abc", world) == [b"abc"]
    module = torch.nn.Linear(2, 2)
    assert wrap(module, world, torch.device("cpu")) is module
    with without_sync(module), main_first(world), joined_world() as joined:
        assert joined == world
