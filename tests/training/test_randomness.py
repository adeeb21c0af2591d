import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.training.config import LoopConfig
from trueformer.training.objective import Objective
from trueformer.training.randomness import (
    capture_rng,
    deterministic_kernels,
    restore_rng,
    seed_everything,
)


def draw():
    """One number from every generator; odd normal draws leave a cached second one behind."""
    return (
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.standard_normal(),
        torch.rand(3).tolist(),
        torch.randn(1).item(),
    )


@given(st.integers(0, 2**40), st.integers(0, 5), st.integers(1, 5))
@settings(deadline=None, max_examples=20)
def test_every_generator_continues_from_its_json(seed, before, after):
    seed_everything(seed)
    for _ in range(before):
        draw()
    saved = json.loads(json.dumps(capture_rng()))
    expected = [draw() for _ in range(after)]
    seed_everything(seed + 1)
    restore_rng(saved)
    assert [draw() for _ in range(after)] == expected


def test_equal_seeds_give_equal_numbers_and_others_do_not():
    draws = []
    for seed in (3, 3, 4):
        seed_everything(seed)
        draws.append(draw())
    assert draws[0] == draws[1]
    assert all(a != b for a, b in zip(draws[0], draws[2], strict=True))


def test_deterministic_kernels_are_a_setting_of_the_block_only():
    before = torch.are_deterministic_algorithms_enabled()
    with deterministic_kernels(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.are_deterministic_algorithms_enabled() == before
    assert torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.slow
def test_a_compiled_gradient_is_the_same_each_time_on_two_threads():
    """Without the setting, threads add into the embedding's gradient in an order of their own: it changes."""
    config = DecoderConfig(vocab_size=97, max_len=128, d_model=64, n_layers=1, n_heads=4)
    torch.manual_seed(0)
    model = DecoderLM(config)
    objective = Objective(model, LoopConfig(precision="float32"))
    objective.compile(dynamic=False)
    ids_BT = torch.randint(0, 97, (16, 129))
    inputs_BT, targets_BT = ids_BT[:, :-1].contiguous(), ids_BT[:, 1:].contiguous()

    def gradients():
        model.zero_grad()
        objective(inputs_BT, targets_BT).backward()
        return [p.grad.clone() for p in model.parameters()]

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with deterministic_kernels(torch.device("cpu")):
            first = gradients()
            for _ in range(10):
                assert all(torch.equal(a, b) for a, b in zip(first, gradients(), strict=True))
    finally:
        torch.set_num_threads(threads)
