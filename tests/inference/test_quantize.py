"""Int8 weights: close to what they stand for, and a model of them close to its original."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.inference.quantize import Int8Linear, quantize_int8, quantized
from trueformer.models.decoder import DecoderLM

DTYPES = [torch.float32, torch.bfloat16]
GREEDY = SamplingConfig(temperature=0.0)


@pytest.fixture(scope="module")
def wide(build: Callable[..., DecoderLM]) -> DecoderLM:
    return build(d_model=64, d_ff=128, init_std=0.2)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([1e-3, 1.0, 50.0]),
    dtype=st.sampled_from(DTYPES),
)
def test_every_weight_is_within_half_a_step_of_what_it_was(
    seed: int, scale: float, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight_ED = (torch.randn(5, 24, generator=generator) * scale).to(dtype)
    int8_ED, scale_E = quantized(weight_ED)
    error_ED = (int8_ED.float() * scale_E.float()[:, None] - weight_ED.float()).abs()
    # Half a step for rounding; a bfloat16 scale may be 1/256 too small, and cuts the largest weight.
    cut = 0.0 if dtype == torch.float32 else 127 / 256
    assert (error_ED <= scale_E.float()[:, None] * (0.5001 + cut)).all()
    assert int8_ED.abs().amax(dim=1).min() >= 126, "each channel uses the whole range"


def test_a_channel_of_zeros_stays_zero() -> None:
    int8_ED, scale_E = quantized(torch.zeros(2, 64))
    assert not int8_ED.any()
    assert scale_E.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 64), (3, 64), (2, 1, 64), (2, 5, 64)])
def test_the_layer_multiplies_by_the_matrix_it_stands_for(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 48).to(dtype)
    layer = Int8Linear(linear.weight, linear.bias)
    x = torch.randn(shape, dtype=dtype)
    expected = (
        x.double() @ (layer.weight_ED.double() * layer.scale_E.double()[:, None]).T + linear.bias.double()
    )
    # One rounding of results of order 1 to 3 in bfloat16 is up to 2^-7.
    torch.testing.assert_close(
        layer(x).double(), expected, atol=2e-6 if dtype == torch.float32 else 0.02, rtol=0
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_stay_close_and_the_original_stays_as_it_was(wide: DecoderLM, dtype: torch.dtype) -> None:
    model = quantize_int8(wide).to(dtype) if dtype == torch.float32 else quantize_int8(wide.to(dtype))
    wide.float()
    assert isinstance(model.head, Int8Linear)
    assert all(isinstance(block.attention.q, Int8Linear) for block in model.blocks)
    assert wide.head is None
    assert wide.config.tied
    ids_BT = torch.randint(0, 31, (4, 16), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact, close = wide(ids_BT), model(ids_BT)
    # A step is 1/127 of a channel's largest weight, its error uniform: a weight is off by about 0.7 % of its
    # own size; 13 such products in a row add up to a few per cent.
    assert float((close - exact).square().mean().sqrt()) < 0.05 * float(exact.std())


def test_narrow_layers_keep_their_type_and_biases_stay(build: Callable[..., DecoderLM]) -> None:
    model = quantize_int8(build(d_ff=128, attention_bias=True, feed_forward_bias=True))
    block = model.blocks[0]
    assert isinstance(block.attention.q, nn.Linear)
    assert isinstance(block.feed_forward.down, Int8Linear)
    assert block.feed_forward.down.bias is not None
    assert model.config.tied


def test_a_quantized_model_generates_and_batches_as_any_other(wide: DecoderLM) -> None:
    model = quantize_int8(wide)
    together = generate(model, [[1, 2, 3], [4]], GREEDY, max_new_tokens=6)
    assert together == [generate(model, [p], GREEDY, max_new_tokens=6)[0] for p in ([1, 2, 3], [4])]
