"""Rotary embeddings: rotations of queries and keys only, by stated frequencies, from exact tables."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from trueformer.models.config import DecoderConfig, RopeScaling
from trueformer.nn.attention import Attention
from trueformer.nn.rotary import Rotary, apply_rotary, rotary_frequencies

LAYOUTS = ["half", "interleaved"]


def config(**changes):
    sizes = {"vocab_size": 11, "max_len": 64, "d_model": 32, "n_layers": 1, "n_heads": 4, "n_kv_heads": 2}
    return DecoderConfig(**(sizes | changes))


def turned(x_BTNH, positions_BT, layout="half", backend="fast", **changes):
    H = x_BTNH.shape[-1]
    rotary = Rotary(config(head_dim=H, rope_layout=layout, **changes))
    return apply_rotary(x_BTNH, rotary(positions_BT), layout, backend)


@settings(deadline=None, max_examples=30)
@given(
    B=st.integers(1, 3),
    T=st.integers(1, 7),
    N=st.integers(1, 3),
    pairs=st.integers(1, 5),
    rest=st.integers(0, 3),
    layout=st.sampled_from(LAYOUTS),
    a_table_a_row=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_fast_rotation_equals_the_plain_one(B, T, N, pairs, rest, layout, a_table_a_row, seed):
    torch.manual_seed(seed)
    x = torch.randn(B, T, N, 2 * pairs + rest)
    positions = torch.randint(64, (B if a_table_a_row else 1, T))
    fast, plain = (turned(x, positions, layout, b, rope_dim=2 * pairs) for b in ("fast", "plain"))
    torch.testing.assert_close(fast, plain)
    assert (fast[..., 2 * pairs :] == x[..., 2 * pairs :]).all()


@pytest.mark.parametrize("backend", ["fast", "plain"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_k5_it_is_a_rotation_and_scores_depend_on_the_distance_alone(layout, backend):
    q, k = torch.randn(1, 1, 2, 16).double().float(), torch.randn(1, 1, 2, 16)

    def score(i, j):
        at = [turned(x, torch.tensor([[p]]), layout, backend) for x, p in ((q, i), (k, j))]
        return (at[0] * at[1]).sum(-1)

    turned_q = turned(q, torch.tensor([[13]]), layout, backend)
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm(dim=-1))
    torch.testing.assert_close(turned(q, torch.tensor([[0]]), layout, backend), q)
    torch.testing.assert_close(score(3, 1), score(60, 58), rtol=1e-4, atol=1e-4)
    assert (score(3, 1) - score(1, 3)).abs().max() > 1e-2  # the order of the two matters
    assert (score(3, 1) - score(5, 1)).abs().max() > 1e-2  # and so does the distance


def test_the_two_layouts_are_one_rotation_with_channels_in_another_order():
    x, positions = torch.randn(2, 9, 3, 12), torch.arange(9)[None]
    order = (
        torch.arange(12).view(2, 6).T.flatten()
    )  # half channels r and r + 6 become interleaved 2r and 2r + 1
    half, interleaved = turned(x, positions, "half"), turned(x[..., order], positions, "interleaved")
    torch.testing.assert_close(half[..., order], interleaved)


@pytest.mark.parametrize("backend", ["fast", "plain"])
def test_k3_values_are_not_turned(backend):
    attention = Attention(config(), 0, backend=backend)
    x = torch.randn(1, 1, 32).expand(1, 20, 32)  # one token, repeated
    rotation = Rotary(config())(torch.arange(20)[None])
    y = attention(x, rotation=rotation, mask=None)
    # Equal values averaged with weights that sum to one are those values, wherever they stand.
    torch.testing.assert_close(y, y[:, :1].expand_as(y))


@pytest.mark.parametrize("width", [2, 8, 64, 128])
@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_n8_frequencies_are_those_of_the_stated_base_and_width(width, base):
    frequency_R, factor = rotary_frequencies(width, base)
    assert factor == 1
    assert frequency_R.shape == (width // 2,)
    assert frequency_R[0] == 1  # the shortest wave is 2 pi tokens
    longest = 2 * math.pi / frequency_R[-1].item()
    assert math.isclose(longest, 2 * math.pi * base ** ((width - 2) / width), rel_tol=1e-12)


SCALINGS = [
    RopeScaling(kind="linear", factor=4.0, original_max_len=512),
    RopeScaling(kind="ntk", factor=4.0, original_max_len=512),
    RopeScaling(kind="yarn", factor=4.0, original_max_len=512),
    RopeScaling(
        kind="yarn", factor=8.0, original_max_len=4096, beta_fast=16.0, beta_slow=2.0, attention_factor=1.3
    ),
    RopeScaling(kind="llama3", factor=8.0, original_max_len=8192),
    RopeScaling(kind="llama3", factor=2.0, original_max_len=128, low_freq_factor=2.0, high_freq_factor=6.0),
]


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda s: f"{s.kind}-{s.factor:g}-{s.original_max_len}")
@pytest.mark.parametrize("width", [16, 64, 128])
def test_scaled_frequencies_agree_with_transformers(scaling, width):
    names = {"ntk": "dynamic"}
    parameters = {
        "rope_type": names.get(scaling.kind, scaling.kind),
        "rope_theta": 10_000.0,
        "factor": scaling.factor,
        "original_max_position_embeddings": scaling.original_max_len,
    }
    if scaling.kind == "llama3":
        parameters |= {
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
        }
    if scaling.kind == "yarn":
        parameters |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
        parameters |= {"attention_factor": scaling.attention_factor} if scaling.attention_factor else {}
    theirs = LlamaConfig(
        hidden_size=4 * width,
        num_attention_heads=4,
        max_position_embeddings=scaling.original_max_len,
        rope_parameters=parameters,
    )
    # Their NTK grows with the text; ours is theirs at the length where its growth is `factor`.
    length = round(scaling.original_max_len * (2 * scaling.factor - 1) / scaling.factor)
    expected, expected_factor = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](theirs, "cpu", seq_len=length)
    frequency_R, factor = rotary_frequencies(width, 10_000.0, scaling)
    torch.testing.assert_close(
        frequency_R.float(), expected, rtol=2e-6, atol=0
    )  # theirs is float32 throughout
    assert factor == pytest.approx(expected_factor)


def test_a3_tables_are_buffers_that_follow_the_module_and_stay_out_of_its_state():
    rotary = Rotary(config())
    assert set(dict(rotary.named_buffers())) == {"cos_PR", "sin_PR"}
    assert rotary.state_dict() == {}
    assert {b.device.type for b in rotary.to("meta").buffers()} == {"meta"}
    assert {b.device.type for b in rotary.to_empty(device="cpu").buffers()} == {"cpu"}
    torch.testing.assert_close(rotary.cos_PR, Rotary(config()).cos_PR, rtol=0, atol=0)


@pytest.mark.parametrize("move", ["bfloat16", "half", "double"])
def test_a3_tables_keep_float32_precision_in_any_dtype(move):
    rotary = Rotary(config(max_len=8192))
    exact = rotary.cos_PR.clone()
    moved = getattr(torch.nn.Sequential(rotary), move)()[0]
    assert moved.cos_PR.dtype == torch.float32
    assert torch.equal(moved.cos_PR, exact)
    frequency_R, _ = rotary_frequencies(8, 10_000.0)
    # Half a unit in the last place of float32 near 1: the angle itself was never rounded to float32.
    assert (exact[8191].double() - (8191 * frequency_R).cos()).abs().max() < 6e-8


def test_a4a_a_table_is_for_each_token_whatever_shapes_coincide():
    x = torch.randn(4, 4, 4, 8)  # batch = tokens = heads = channel pairs
    positions = torch.randint(64, (4, 4))
    y = turned(x, positions)
    for b in range(4):
        for t in range(4):
            alone = turned(x[b : b + 1, t : t + 1], positions[b : b + 1, t : t + 1])
            torch.testing.assert_close(y[b, t], alone[0, 0])


@pytest.mark.parametrize("positions", [torch.zeros(1, 3).long(), torch.zeros(2, 4).long()])
def test_a4a_a_table_of_another_shape_is_refused(positions):
    with pytest.raises(AssertionError):
        turned(torch.randn(3, 4, 2, 8), positions)


def test_bf16_is_turned_in_float32():
    x = torch.randn(2, 33, 2, 16).bfloat16()
    positions = torch.arange(31, 64)[None]
    y = turned(x, positions)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, turned(x.float(), positions).bfloat16(), rtol=0, atol=0)
