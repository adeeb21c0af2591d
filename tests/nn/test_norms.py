"""Norms: equal to their written-out twins, finite where activations vanish, float32 inside."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.nn.norms import LayerNorm, RMSNorm

NORMS = [RMSNorm, LayerNorm]


def make(kind, width, eps=1e-6):
    norm = kind(width, eps)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    return norm


@pytest.mark.parametrize("kind", NORMS)
@settings(deadline=None, max_examples=25)
@given(width=st.integers(1, 40), rows=st.integers(1, 5), size=st.floats(-6, 4), seed=st.integers(0, 99))
def test_the_fast_norm_equals_the_plain_one(kind, width, rows, size, seed):
    torch.manual_seed(seed)
    norm, x = make(kind, width), torch.randn(rows, 3, width) * 10**size
    fast = norm(x)
    norm.backend = "plain"
    # Both round float32 at each of a handful of operations.
    torch.testing.assert_close(fast, norm(x), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", NORMS)
def test_gradients_equal_the_plain_ones(kind):
    norm = make(kind, 24)
    x = torch.randn(2, 5, 24)
    grads = []
    for backend in ("fast", "plain"):
        norm.backend = backend
        leaf = x.clone().requires_grad_()
        grads.append(torch.autograd.grad(norm(leaf).square().sum(), [leaf, *norm.parameters()]))
    for fast, plain in zip(*grads, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["fast", "plain"])
@pytest.mark.parametrize("kind", NORMS)
def test_k4_zero_and_tiny_activations_stay_finite(kind, backend):
    norm = kind(8, 1e-6, backend=backend)
    x = torch.stack([torch.zeros(8), torch.full((8,), 1e-30), torch.arange(8.0) * 1e-25]).requires_grad_()
    y = norm(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (y[0] == 0).all()


@pytest.mark.parametrize("backend", ["fast", "plain"])
def test_k4_epsilon_is_inside_the_root(backend):
    norm = RMSNorm(4, 1e-6, backend=backend)
    # mean(x²) = eps, so the divisor is sqrt(2 eps); outside the root it would be sqrt(eps) + eps.
    torch.testing.assert_close(norm(torch.full((1, 4), 1e-3)), torch.full((1, 4), 0.5**0.5))


@pytest.mark.parametrize("backend", ["fast", "plain"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", NORMS)
def test_the_inside_is_float32_and_the_result_has_the_inputs_dtype(kind, dtype, backend):
    norm = make(kind, 64).to(dtype)
    norm.backend = backend
    x = (torch.randn(3, 64) * 500).to(dtype)  # squares overflow float16
    y = norm(x)
    exact = make(kind, 64)
    exact.load_state_dict({k: v.float() for k, v in norm.state_dict().items()})
    assert y.dtype == dtype
    # One rounding at the end, not one at each operation.
    torch.testing.assert_close(y, exact(x.float()).to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(RMSNorm, torch.nn.RMSNorm), (LayerNorm, torch.nn.LayerNorm)], ids=["rms", "layer"]
)
def test_both_agree_with_torch(ours, theirs):
    norm, reference = make(ours, 16), theirs(16, eps=1e-6)
    reference.load_state_dict(norm.state_dict())
    x = torch.randn(4, 16)
    torch.testing.assert_close(norm(x), reference(x))
