import dataclasses
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.data.config import DataConfig
from trueformer.data.shards import prepare
from trueformer.training.resume_proof import compare_runs, first_difference, prove_resume, shortened, variants
from trueformer.training.run import train


@pytest.fixture(scope="module")
def config(tmp_path_factory, tiny_config):
    folder = tmp_path_factory.mktemp("corpus")
    text = [{"text": f"{a} and {b} went up the hill {n}."} for n in range(60) for a, b in ["jj", "ab", "xy"]]
    (folder / "text.jsonl").write_text("\n".join(map(json.dumps, text)))
    data = {"source": str(folder / "text.jsonl"), "tokenizer": "char", "cache": str(folder / "cache")}
    size = prepare(DataConfig(**data)).tokenizer.vocab_size

    def make(model=None, **changes):
        return tiny_config(model={"vocab_size": size, "dropout": 0.1} | (model or {}), data=data, **changes)

    return make


@given(seed=st.integers(0, 2**30))
@settings(deadline=None, max_examples=1)
def test_r18_a_process_killed_twice_at_random_points_resumes_bit_for_bit(config, tmp_path_factory, seed):
    """Real processes and SIGKILL; the seed, and so the points, are chosen anew each time the suite runs."""
    changed = config(optim={"name": "adamuon"}, loop={"precision": "bf16", "micro_batch_size": 2})
    report = prove_resume(changed, tmp_path_factory.mktemp("proof"), steps=40, kills=2, seed=seed)
    assert report.identical, str(report)
    assert len(report.killed_after) == 2
    assert all(
        0 < start <= step < 40 for start, step in zip(report.resumed_from, report.killed_after, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("index", range(12))
def test_every_optimizer_precision_and_compilation_resumes_bit_for_bit(config, tmp_path, index):
    title, changed = list(variants(config()))[index]
    report = prove_resume(changed, tmp_path, steps=12)
    assert report.identical, f"{title}\n{report}"


@pytest.mark.slow
def test_bf16_parameters_resume_bit_for_bit(config, tmp_path):
    changed = config(loop={"precision": "bf16", "parameters": "bf16"}, optim={"bf16_updates": "stochastic"})
    report = prove_resume(changed, tmp_path, steps=12)
    assert report.identical, str(report)


def test_the_comparison_finds_what_differs(config, tmp_path):
    """Two runs that differ in one thing only: another seed, or another rate. The proof can fail."""
    base = shortened(config(), 4)
    train(base, tmp_path / "base")
    train(base, tmp_path / "same")
    assert not any(compare_runs(tmp_path / "base", tmp_path / "same", 4).values())
    train(dataclasses.replace(base, loop=dataclasses.replace(base.loop, seed=1)), tmp_path / "seed")
    parts = compare_runs(tmp_path / "base", tmp_path / "seed", 4)
    assert {name.split(" (")[0] for name, difference in parts.items() if difference} == {
        "weights", "optimizer", "state: loader", "state: rng", "state: callbacks", "losses logged",
    }  # fmt: skip
    faster = dataclasses.replace(base.optim, lr_vectors=0.011)
    train(dataclasses.replace(base, optim=faster), tmp_path / "rate")
    parts = compare_runs(tmp_path / "base", tmp_path / "rate", 4)
    assert parts["state: rng"] is None
    assert "differ, first at" in next(d for name, d in parts.items() if name.startswith("weights"))


def test_a_difference_is_one_of_bits():
    x = torch.tensor([1.0, math.nan, 0.0])
    assert first_difference({"x": x}, {"x": x.clone()}) is None
    assert "first at 2: 0.0 and -0.0" in first_difference(
        {"x": x}, {"x": torch.tensor([1.0, math.nan, -0.0])}
    )
    close = torch.nextafter(x, torch.full_like(x, math.inf))
    assert "first at 0" in first_difference({"x": x}, {"x": close})
    assert "in one run only" in first_difference({"x": x}, {})
    assert "bfloat16" in first_difference({"x": x}, {"x": x.bfloat16()})
    assert first_difference({"x": torch.tensor(3)}, {"x": torch.tensor(3)}) is None


def test_a_proof_too_short_for_a_kill_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match="steps is 3: expected at least"):
        prove_resume(config(), tmp_path, steps=3)


def test_a_child_that_fails_shows_why(config, tmp_path):
    broken = config(model={"vocab_size": 7})
    with pytest.raises(RuntimeError, match="vocab_size is 7"):
        prove_resume(broken, tmp_path)


def test_there_are_twelve_variants(config):
    titles = [title for title, _ in variants(config())]
    assert len(set(titles)) == 12
    assert titles[0] == "adamw, float32, eager"
    assert titles[-1] == "adamuon, bf16, compiled"
