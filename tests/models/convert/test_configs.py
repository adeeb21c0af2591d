"""Which of our models are stock ones, and what a config.json must say to be one of ours."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.models.config import DecoderConfig, RopeScaling
from trueformer.models.convert.configs import architecture_of, from_hugging_face, to_hugging_face

SIZES = {"vocab_size": 11, "max_len": 64, "d_model": 32, "n_layers": 2, "n_heads": 4}
QWEN3 = DecoderConfig(**SIZES, n_kv_heads=2)
LLAMA = dataclasses.replace(QWEN3, qk_norm=False)
GPT2 = DecoderConfig(
    **SIZES,
    positions="learned",
    norm="layernorm",
    qk_norm=False,
    feed_forward="gelu_tanh",
    attention_bias=True,
    feed_forward_bias=True,
)


def test_the_default_decoder_is_a_stock_qwen3() -> None:
    assert architecture_of(QWEN3) == "qwen3"
    assert to_hugging_face(QWEN3)["architectures"] == ["Qwen3ForCausalLM"]
    assert architecture_of(LLAMA) == "llama"
    assert architecture_of(GPT2) == "gpt2"


REFUSED: list[tuple[DecoderConfig, str, Any]] = [
    (QWEN3, "attention_sinks", True),
    (QWEN3, "feed_forward", "relu2"),
    (QWEN3, "logit_softcap", 30.0),
    (QWEN3, "norm_placement", "post"),
    (QWEN3, "norm", "layernorm"),
    (QWEN3, "positions", "sinusoidal"),
    (QWEN3, "positions", "none"),
    (QWEN3, "rope_dim", 4),
    (QWEN3, "feed_forward_bias", True),
    (LLAMA, "window", 8),
    (LLAMA, "attention_sinks", True),
    (LLAMA, "feed_forward", "gelu"),
    (GPT2, "norm", "rmsnorm"),
    (GPT2, "qk_norm", True),
    (GPT2, "attention_bias", False),
    (GPT2, "feed_forward_bias", False),
    (GPT2, "feed_forward", "swiglu"),
    (GPT2, "window", 8),
    (GPT2, "n_kv_heads", 2),
    (GPT2, "head_dim", 16),
    (GPT2, "norm_placement", "post"),
]


@pytest.mark.parametrize(("config", "field", "value"), REFUSED)
def test_what_no_stock_model_computes_is_refused_by_field(
    config: DecoderConfig, field: str, value: Any
) -> None:
    with pytest.raises(
        ValueError, match=rf"cannot be exported as .*: {field} is {value!r}, and a stock .* needs"
    ):
        architecture_of(dataclasses.replace(config, **{field: value}))


def test_a_width_that_heads_do_not_divide_is_no_llama() -> None:
    config = DecoderConfig(**SIZES | {"d_model": 30}, head_dim=8, qk_norm=False)
    with pytest.raises(ValueError, match="d_model is 30, and a stock llama needs a multiple of n_heads = 4"):
        architecture_of(config)


SCALINGS = st.one_of(
    st.none(),
    st.builds(
        RopeScaling,
        kind=st.just("linear"),
        factor=st.sampled_from([1.0, 2.0, 4.0]),
        original_max_len=st.just(1),
    ),
    st.builds(
        RopeScaling,
        kind=st.just("llama3"),
        factor=st.floats(1, 16),
        original_max_len=st.integers(1, 99),
        low_freq_factor=st.floats(1, 2),
        high_freq_factor=st.floats(3, 5),
    ),
    st.builds(
        RopeScaling,
        kind=st.just("yarn"),
        factor=st.floats(1, 16),
        original_max_len=st.integers(1, 99),
        beta_fast=st.floats(16, 64),
        beta_slow=st.floats(1, 4),
        attention_factor=st.one_of(st.none(), st.floats(0.5, 2)),
    ),
)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), base=st.sampled_from([QWEN3, LLAMA, GPT2]))
def test_there_and_back_is_the_same_configuration(data: st.DataObject, base: DecoderConfig) -> None:
    draw = data.draw
    changes: dict[str, Any] = {
        "vocab_size": draw(st.integers(1, 999)),
        "max_len": draw(st.integers(1, 999)),
        "n_layers": draw(st.integers(1, 9)),
        "d_ff": draw(st.integers(1, 99)),
        "norm_eps": draw(st.floats(1e-8, 1e-2)),
        "init_std": draw(st.floats(0.01, 0.1)),
        "tied": draw(st.booleans()),
    }
    if base is GPT2:
        changes["feed_forward"] = draw(st.sampled_from(["gelu", "gelu_tanh"]))
    else:
        changes["rope_base"] = draw(st.floats(2, 1e6))
        changes["rope_scaling"] = draw(SCALINGS)
        changes["attention_bias"] = draw(st.booleans())
        changes["n_kv_heads"] = draw(st.sampled_from([1, 2, 4]))
    if base is QWEN3:
        changes["window"] = draw(st.one_of(st.none(), st.integers(1, 99)))
    if base is LLAMA:
        changes["feed_forward_bias"] = draw(st.booleans())
    config = dataclasses.replace(base, **changes)
    found = from_hugging_face(to_hugging_face(config), "config.json")
    scaling = config.rope_scaling
    if (
        scaling is not None and scaling.kind == "linear"
    ):  # a length that the other side does not know, nor needs
        length = max(1, int(config.max_len // scaling.factor))
        config = dataclasses.replace(
            config, rope_scaling=dataclasses.replace(scaling, original_max_len=length)
        )
    assert found == config


def test_both_spellings_of_rotary_settings_are_read() -> None:
    old = to_hugging_face(dataclasses.replace(LLAMA, rope_base=500.0))
    new = {key: value for key, value in old.items() if not key.startswith("rope_")}
    new["rope_parameters"] = {"rope_type": "default", "rope_theta": 500.0}
    assert from_hugging_face(old, "x") == from_hugging_face(new, "x")
    scaled = old | {"rope_scaling": {"type": "linear", "factor": 2}}  # the oldest key, and a whole number
    assert from_hugging_face(scaled, "x").rope_scaling == RopeScaling(
        kind="linear", factor=2.0, original_max_len=32
    )


UNREADABLE = [
    (GPT2, {"model_type": "mamba"}, "model_type is 'mamba', expected one of 'gpt2', 'llama', 'qwen3'"),
    (GPT2, {"model_type": None}, "model_type is None"),
    (GPT2, {"activation_function": "relu"}, "activation_function is 'relu'"),
    (GPT2, {"activation_function": ["gelu"]}, r"activation_function is \['gelu'\]"),
    (
        GPT2,
        {"scale_attn_by_inverse_layer_idx": True},
        "scale_attn_by_inverse_layer_idx is True, expected False",
    ),
    (GPT2, {"n_embd": None}, "n_embd is None, expected a number"),
    (LLAMA, {"hidden_act": "gelu"}, "hidden_act is 'gelu', expected 'silu'"),
    (LLAMA, {"hidden_size": "wide"}, "hidden_size is 'wide', expected a number above 0"),
    (LLAMA, {"hidden_size": 32.5}, r"d_model: got 32\.5"),
    (LLAMA, {"tie_word_embeddings": "yes"}, "tied: got 'yes'"),
    (LLAMA, {"num_hidden_layers": -1}, "num_hidden_layers is -1, expected a number above 0"),
    (LLAMA, {"num_attention_heads": 5}, "d_model|n_kv_heads"),
    (LLAMA, {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type is 'dynamic'"),
    (LLAMA, {"rope_scaling": {"rope_type": "linear"}}, "factor is None"),
    (LLAMA, {"rope_scaling": {"rope_type": "linear", "factor": 0.5}}, "rope factor is 0.5"),
    (LLAMA, {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}}, "mscale is 1.0"),
    (LLAMA, {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "truncate": False}}, "truncate is False"),
    (LLAMA, {"rope_scaling": "linear"}, "rope_parameters is 'linear', expected an object"),
    (LLAMA, {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
    (QWEN3, {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}, "some layers slide"),
    (
        QWEN3,
        {
            "use_sliding_window": True,
            "sliding_window": 9,
            "layer_types": ["full_attention", "sliding_attention"],
        },
        "some layers slide",
    ),
    (QWEN3, {"use_sliding_window": True, "sliding_window": 9, "layer_types": 3}, "layer_types is 3"),
    (QWEN3, {"use_sliding_window": True, "sliding_window": "9", "max_window_layers": 0}, "window"),
    (QWEN3, {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": "0"}, "max_window_layers"),
]


@pytest.mark.parametrize(("config", "changes", "message"), UNREADABLE)
def test_what_we_do_not_compute_is_refused_by_key(config: DecoderConfig, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_hugging_face(to_hugging_face(config) | changes, "config.json")
