"""bf16 parameters keep updates that bf16 cannot show."""

import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig
from trueformer.optim.precision import join, round_stochastically, split

ALL = ["adamw", "muon", "adamuon"]
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


def one_weight_model(value):
    model = torch.nn.LayerNorm(256, bias=False).bfloat16()
    torch.nn.init.constant_(model.weight, value)
    return model


@pytest.mark.parametrize("mode", ["master", "stochastic"])
def test_a8_updates_below_bf16_resolution_survive(mode):
    model, lr, steps = one_weight_model(1.0), 1e-5, 1000
    optimizers = build_optimizer(model, OptimConfig(name="adamw", lr_vectors=lr, bf16_updates=mode))
    for _ in range(steps):
        model.weight.grad = torch.ones_like(model.weight)  # a constant gradient moves Adam by lr a step
        optimizers.step(1.0)
    assert torch.ones(1).bfloat16() - lr == 1  # each update alone is below the resolution
    mean = model.weight.float().mean().item()
    # Below 1 the spacing is 2^-8: a master is off by up to half, 256 random roundings by far less on average.
    assert mean == pytest.approx(1 - lr * steps, abs=2**-9 if mode == "master" else 2**-9 / 4)


@pytest.mark.parametrize("name", ALL)
def test_a8_a_master_is_trained_as_float32_would_be(small, train, name):
    config = OptimConfig(name=name)
    low, full = small(dtype=torch.bfloat16), small(dtype=torch.bfloat16).float()
    optimizers = build_optimizer(low, config)
    reference = build_optimizer(full, config)
    for step in range(6):
        train(low, config, step + 1, first=step, optimizers=optimizers)
        for p, q in zip(full.parameters(), low.parameters(), strict=True):
            p.grad = q.grad.float()
        reference.step(1.0 / (1 + step))
    rests = optimizers.state_dict()[0]
    for (n, p), q in zip(low.named_parameters(), full.parameters(), strict=True):
        assert p.dtype == torch.bfloat16
        assert torch.equal(join(p.detach(), rests[f"{n}.rest"]), q), n
        torch.testing.assert_close(p.float(), q, rtol=2**-8, atol=0)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_split_and_join_keep_every_bit(patterns):
    x = torch.frombuffer(bytearray(struct.pack(f"{len(patterns)}I", *patterns)), dtype=torch.float32)
    assert torch.equal(join(*split(x)).view(torch.int32), x.view(torch.int32))


@settings(deadline=None, max_examples=300)
@given(st.lists(floats, min_size=1, max_size=50))
def test_split_rounds_to_a_nearest_bf16(values):
    x = torch.tensor(values)
    distance = (split(x)[0].double() - x.double()).abs()
    nearest = (x.bfloat16().double() - x.double()).abs()
    assert torch.equal(distance, nearest)  # only which neighbour takes a tie may differ


@settings(deadline=None, max_examples=300)
@given(st.lists(floats, min_size=1, max_size=50), st.integers(0, 99))
def test_stochastic_rounding_picks_a_neighbour_and_keeps_what_bf16_can_show(values, seed):
    x = torch.tensor(values)
    rounded = round_stochastically(x, torch.Generator().manual_seed(seed))
    low = (x.view(torch.int32) & -(1 << 16)).view(torch.float32)
    high = ((x.view(torch.int32) & -(1 << 16)) + (1 << 16)).view(torch.float32)
    exact = low == x
    assert ((rounded.float() == low) | ((rounded.float() == high) & ~exact)).all()


def test_stochastic_rounding_is_right_on_average():
    n = 100_000
    for value in (1.001, -3.14159, 1e-3):
        x = torch.full((n,), value)
        rounded = round_stochastically(x, torch.Generator().manual_seed(0)).double()
        spacing = (rounded.max() - rounded.min()).item()
        # A mean of n coin flips of one spacing strays by at most 0.5 / sqrt(n) of it, times 5 for certainty.
        assert abs(rounded.mean().item() - x[0].item()) < 5 * 0.5 * spacing / n**0.5


def test_stochastic_rounding_passes_what_is_not_finite():
    x = torch.tensor([float("inf"), float("-inf"), float("nan")])
    rounded = round_stochastically(x, torch.Generator())
    assert torch.equal(rounded.isnan(), x.isnan())
    assert torch.equal(rounded[:2].float(), x[:2])


def test_a_master_follows_weights_loaded_after_it_was_made(small, train):
    config = OptimConfig(name="muon")
    model, source = small(dtype=torch.bfloat16), small(seed=1, dtype=torch.bfloat16)
    optimizers = build_optimizer(model, config)
    model.load_state_dict(source.state_dict())
    train(model, config, 1, optimizers=optimizers)
    train(source, config, 1)
    for p, q in zip(model.parameters(), source.parameters(), strict=True):
        assert torch.equal(p, q)


def test_float16_parameters_are_refused(small):
    with pytest.raises(ValueError, match=r"torch\.float16: expected torch\.float32 or torch\.bfloat16"):
        build_optimizer(small(dtype=torch.float16), OptimConfig())
