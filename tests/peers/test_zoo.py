"""The zoo is what it says: models that build, repeat, are small and quick, and look where they should."""

import importlib.util
import time
from pathlib import Path

import pytest
import torch

spec = importlib.util.spec_from_file_location("zoo", Path(__file__).parent / "zoo.py")
zoo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(zoo)


def ids(length=24):
    return torch.randint(3, zoo.VOCABULARY, (2, length), generator=torch.Generator().manual_seed(1))


def test_there_are_enough_families():
    assert len(zoo.FAMILIES) >= 32
    assert {"llama", "gpt2", "bloom", "t5", "torch-transformer"} <= set(zoo.FAMILIES)


@pytest.mark.parametrize("name", zoo.FAMILIES)
@torch.no_grad()
def test_a_family_builds_repeats_and_gives_logits(name):
    state = torch.get_rng_state()
    model, twin = zoo.FAMILIES[name](), zoo.FAMILIES[name]()
    assert torch.equal(torch.get_rng_state(), state)
    logits = zoo.logits_of(model(ids()))
    assert logits.shape == (2, 24, zoo.VOCABULARY)
    assert logits.isfinite().all()
    assert torch.equal(logits, zoo.logits_of(twin(ids())))
    assert zoo.logits_of(model(ids(zoo.MAX_LEN))).shape[1] == zoo.MAX_LEN
    assert sum(p.numel() for p in model.parameters()) < 100_000
    assert fastest(model) < 0.05


def fastest(model):
    """Seconds of the quickest of five passes, so that a busy machine does not count."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        model(ids())
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize("name", zoo.FAMILIES)
@torch.no_grad()
def test_a_family_sees_the_future_only_if_it_says_so(name):
    model, changed = zoo.FAMILIES[name](), ids()
    changed[:, 12] = 3 + (changed[:, 12] - 2) % (zoo.VOCABULARY - 3)
    moved = (zoo.logits_of(model(ids())) - zoo.logits_of(model(changed))).abs().amax((0, 2))
    assert (moved[:12].max() > 1e-6) == (name in zoo.BIDIRECTIONAL)
    assert moved[12] > 1e-4
    assert moved[13:].max() > 1e-6


@torch.no_grad()
def test_a_window_hides_what_is_further_back():
    """Two layers of a window of 8 reach 14 tokens back, and the whole of it is used."""
    model, changed = zoo.FAMILIES["mistral"](), ids()
    changed[:, 2] = 3 + (changed[:, 2] - 2) % (zoo.VOCABULARY - 3)
    moved = (zoo.logits_of(model(ids())) - zoo.logits_of(model(changed))).abs().amax((0, 2))
    assert moved[2 + 2 * (zoo.WINDOW - 1)] > 0
    assert (moved[3 + 2 * (zoo.WINDOW - 1) :] == 0).all()
