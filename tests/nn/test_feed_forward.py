"""Feed-forward layers against their formulas."""

import math

import pytest
import torch

from trueformer.models.config import DecoderConfig
from trueformer.nn.feed_forward import FeedForward, gelu_tanh


def activation(kind, x):
    return {
        "gelu": lambda: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
        "gelu_tanh": lambda: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "relu2": lambda: torch.clamp(x, min=0) ** 2,
        "swiglu": lambda: x / (1 + torch.exp(-x)),
    }[kind]()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["swiglu", "gelu", "gelu_tanh", "relu2"])
def test_the_layer_is_its_formula(kind, bias):
    config = DecoderConfig(
        vocab_size=5, max_len=8, d_model=12, n_layers=1, n_heads=2, feed_forward=kind, feed_forward_bias=bias
    )
    layer = FeedForward(config)
    x = torch.randn(2, 3, 12)
    if kind == "swiglu":
        assert layer.gate is not None
        expected = layer.down(activation(kind, layer.gate(x)) * layer.up(x))
    else:
        assert layer.gate is None
        expected = layer.down(activation(kind, layer.up(x)))
    assert (layer.up.bias is not None) == bias
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_compiled_gelu_tanh_is_torchs():
    x = torch.linspace(-12, 12, 1001, requires_grad=True)
    compiled = torch.compile(gelu_tanh)(x)
    expected = torch.nn.functional.gelu(x, approximate="tanh")
    # float32 rounding of two forms of one formula; a tanh near -1 loses what the sigmoid keeps.
    torch.testing.assert_close(compiled, expected, rtol=1e-5, atol=2e-6)
    (slope,), (expected_slope,) = (torch.autograd.grad(y.sum(), x) for y in (compiled, expected))
    torch.testing.assert_close(slope, expected_slope, rtol=1e-5, atol=2e-6)
