"""Dropout from shared random numbers: as independent and as unbiased as one number each would be."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.nn.dropout import dropout, keep


@settings(deadline=None, max_examples=30)
@given(rate=st.floats(0.01, 0.9), rows=st.integers(1, 5), seed=st.integers(0, 999))
def test_the_share_dropped_is_the_rate_and_the_rest_makes_up_for_it(rate, rows, seed):
    torch.manual_seed(seed)
    n = rows * 20_001
    mask = keep((rows, 20_001), rate, torch.float32)
    dropped = (mask == 0).sum().item()
    assert abs(dropped - n * rate) < 6 * (n * rate * (1 - rate)) ** 0.5 + 1  # six standard deviations
    kept = mask[mask != 0]
    assert (kept == kept[0]).all()
    assert kept[0].item() == pytest.approx(1 / (1 - rate), rel=2e-4)  # the rate is rounded to 1 in 65,536


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 8])
def test_neighbours_that_share_a_number_are_independent(distance):
    torch.manual_seed(0)
    kept = (keep((400_000,), 0.5, torch.float32) > 0).float() - 0.5
    correlation = (kept[distance:] * kept[:-distance]).mean().item() * 4
    assert abs(correlation) < 6 / 400_000**0.5


def test_one_seed_gives_one_mask_and_another_another():
    def mask(seed):
        torch.manual_seed(seed)
        return keep((50, 7), 0.3, torch.bfloat16)

    assert torch.equal(mask(1), mask(1))
    assert not torch.equal(mask(1), mask(2))


def test_nothing_is_dropped_outside_training_or_at_rate_zero():
    x = torch.randn(3, 4)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x


def test_the_gradient_passes_where_the_value_did():
    torch.manual_seed(0)
    x = torch.ones(2, 9, requires_grad=True)
    y = dropout(x, 0.4, training=True)
    y.sum().backward()
    assert 0 < (y == 0).sum() < 18
    assert torch.equal(x.grad, y.detach())


def test_compiled_it_drops_as_often_each_time_elsewhere_and_the_gradient_follows():
    torch.manual_seed(0)
    x = torch.ones(100_003, requires_grad=True)
    once, twice = torch.compile(lambda x: (dropout(x, 0.25, True), dropout(x, 0.25, True)))(x)
    for y in (once, twice):
        assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=6 * (0.1875 / 100_003) ** 0.5)
        (gradient,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
        assert torch.equal(gradient, y.detach())
    both = ((once == 0) & (twice == 0)).float().mean().item()
    assert both == pytest.approx(0.0625, abs=6 * (0.0625 / 100_003) ** 0.5)
