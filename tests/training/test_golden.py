"""The first losses of small fixed runs, kept in tests/golden: a refactor reproduces them exactly.

Exactly means: on the kind of machine and the torch version that made the file, on one thread. Elsewhere
matrices are multiplied in another order, and the comparison is relative (see TOLERANCE). Run as a script to
make the file anew, after a change that is meant to change the numbers:

    python tests/training/test_golden.py
"""

import hashlib
import json
import platform
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from trueformer.data.config import DataConfig
from trueformer.data.shards import PreparedData
from trueformer.data.token_set import TokenSet
from trueformer.models.config import DecoderConfig
from trueformer.optim.config import OptimConfig, ScheduleConfig
from trueformer.tokenization.characters import train_characters
from trueformer.training.config import LoopConfig, RunConfig
from trueformer.training.data import TextData
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model

FILE = Path(__file__).parents[1] / "golden" / "losses.json"
STEPS = 10
RUNS = [(optimizer, backend) for optimizer in ("adamw", "muon", "adamuon") for backend in ("plain", "fast")]
# Of a loss, over ten steps: rounding of 1e-7 a product, enlarged by Muon's bf16 orthogonalisation. Kernels
# for narrower vector units, forced on one machine, moved no loss by more than an eighth of this.
TOLERANCE = 5e-4


def machine():
    """What the numbers depend on beside the code."""
    cpuinfo = Path("/proc/cpuinfo")
    first = cpuinfo.read_text().split("\n\n")[0] if cpuinfo.exists() else ""
    told = dict(re.findall(r"^(model name|cpu family|model|flags)\s*: (.*)$", first, re.MULTILINE))
    return {
        "torch": torch.__version__,
        "cpu": told.get("model name", platform.processor()),
        "family": f"{told.get('cpu family')}.{told.get('model')}",
        "flags": hashlib.sha256(told.get("flags", "").encode()).hexdigest()[:16],
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }


def losses(optimizer, backend):
    """Training losses of a two-layer decoder on a fixed sequence, on one thread."""
    ids = np.array([(i * i * 7 + i // 3) % 29 for i in range(2000)], dtype=np.uint16)
    tokens = TokenSet([ids], bos_id=0, n_documents=1, n_bytes=2000)
    tokenizer = train_characters(["abcdefghijklmnopqrstuvwxy"])
    data = PreparedData(train=tokens, validation=tokens, tokenizer=tokenizer, folder=Path("unused"))
    config = RunConfig(
        model=DecoderConfig(vocab_size=29, max_len=16, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2),
        data=DataConfig(seq_len=16),
        optim=OptimConfig(name=optimizer),
        schedule=ScheduleConfig(warmup_steps=3),
        loop=LoopConfig(steps=STEPS, batch_size=8, micro_batch_size=4, precision="float32", backend=backend,
                        compile=False, z_loss=1e-4),
    )  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(config.loop.seed)
    trainer = Trainer(
        config,
        build_model(config.model, config.loop),
        TextData(data, config.data),
        Path("unused"),
        device=torch.device("cpu"),
    )
    found = [trainer.step().loss for _ in range(STEPS)]
    torch.set_num_threads(threads)
    return found


@pytest.mark.parametrize(("optimizer", "backend"), RUNS)
def test_losses_are_what_they_were(optimizer, backend):
    golden = json.loads(FILE.read_text())
    expected, found = golden["losses"][f"{optimizer}-{backend}"], losses(optimizer, backend)
    if golden["machine"] == machine():
        assert found == expected
    else:
        assert found == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adamuon"])
def test_plain_and_fast_backends_train_alike(optimizer):
    """The same mathematics by other kernels: their golden losses agree to the same tolerance."""
    golden = json.loads(FILE.read_text())["losses"]
    assert golden[f"{optimizer}-fast"] == pytest.approx(golden[f"{optimizer}-plain"], rel=TOLERANCE)


if __name__ == "__main__":
    made = {f"{optimizer}-{backend}": losses(optimizer, backend) for optimizer, backend in RUNS}
    FILE.write_text(json.dumps({"machine": machine(), "losses": made}, indent=1) + "\n")
    print(FILE.read_text())
