"""The written-out cross-entropy against torch's; the other twins are tested beside what they are twins of."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.nn.plain import plain_cross_entropy


@settings(deadline=None, max_examples=30)
@given(
    T=st.integers(1, 9),
    V=st.integers(2, 30),
    smoothing=st.sampled_from([0.0, 0.1, 0.5]),
    ignored=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_cross_entropy_equals_torchs_sum(T, V, smoothing, ignored, seed):
    torch.manual_seed(seed)
    logits = (5 * torch.randn(T, V)).requires_grad_()
    targets = torch.randint(V, (T,))
    targets[torch.rand(T) < ignored] = -100
    ours = plain_cross_entropy(logits, targets, label_smoothing=smoothing)
    theirs = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    grads = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-6)


def test_z_loss_is_the_squared_log_of_the_normaliser():
    logits, targets = torch.randn(4, 7), torch.tensor([1, -100, 3, 0])
    extra = plain_cross_entropy(logits, targets, z_loss=0.1) - plain_cross_entropy(logits, targets)
    log_z = logits.exp().sum(-1).log()[targets != -100]
    torch.testing.assert_close(extra, 0.1 * (log_z**2).sum())


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_certainty_costs_nothing_and_uniform_guesses_cost_log_v(dtype):
    targets = torch.tensor([2, 0], dtype=dtype)
    certain = torch.full((2, 8), -1e4)
    certain[[0, 1], targets.long()] = 1e4
    assert plain_cross_entropy(certain, targets) == 0
    uniform = plain_cross_entropy(torch.zeros(2, 8), targets)
    torch.testing.assert_close(uniform, 2 * torch.tensor(8.0).log())
