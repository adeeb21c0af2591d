"""Configurations to and from Hugging Face's `config.json`, for GPT-2, Llama and Qwen3.

`architecture_of` is the one place that decides which stock architecture a configuration is, or says which
field keeps it from being one. Leaves out weights, tokenizers and files. Dropout is a choice of the next
training, not of the model: it is written where the other side has a place for it, and never read.
"""

from typing import Any, Literal

from trueformer.config import from_dict
from trueformer.models.config import DecoderConfig

Architecture = Literal["gpt2", "llama", "qwen3"]

# What each field must be for a stock architecture to compute the same thing; the rest may be anything.
_PLAIN = {"norm_placement": ("pre",), "attention_sinks": (False,), "logit_softcap": (None,)}
_ROTARY = {"positions": ("rope",), "norm": ("rmsnorm",), "feed_forward": ("swiglu",)}
_NEEDS: dict[Architecture, dict[str, tuple[Any, ...]]] = {
    "gpt2": {
        **_PLAIN,
        "positions": ("learned",),
        "norm": ("layernorm",),
        "feed_forward": ("gelu_tanh", "gelu"),
        "qk_norm": (False,),
        "attention_bias": (True,),
        "feed_forward_bias": (True,),
        "window": (None,),
    },
    "llama": {**_PLAIN, **_ROTARY, "qk_norm": (False,), "window": (None,)},
    "qwen3": {**_PLAIN, **_ROTARY, "qk_norm": (True,), "feed_forward_bias": (False,)},
}
_CLASSES: dict[Architecture, str] = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
_GELU = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
_BLEND = {  # fields of RopeScaling that the kind has there too, by the same name
    "llama3": ("low_freq_factor", "high_freq_factor"),
    "yarn": ("beta_fast", "beta_slow", "attention_factor"),
}


def architecture_of(config: DecoderConfig) -> Architecture:
    """The stock architecture that computes what this configuration computes.

    Raises:
        ValueError: none does; names the field, its value and what it would have to be.
    """
    name: Architecture = "gpt2" if config.positions == "learned" else "qwen3" if config.qk_norm else "llama"
    for field, allowed in _NEEDS[name].items():
        if getattr(config, field) not in allowed:
            _refuse(name, config, field, " or ".join(map(repr, allowed)))
    width = config.d_model // config.n_heads
    if name == "gpt2":
        for field, value in (("n_kv_heads", config.n_heads), ("head_dim", width)):
            if getattr(config, field) != value:
                _refuse(name, config, field, f"{value}, since its heads are all alike")
    elif config.rope_dim != config.head_dim:
        _refuse(name, config, "rope_dim", f"head_dim = {config.head_dim}, since it turns whole heads")
    if name == "llama" and config.d_model % config.n_heads:
        _refuse(name, config, "d_model", f"a multiple of n_heads = {config.n_heads}")
    return name


def _refuse(name: Architecture, config: DecoderConfig, field: str, expected: str) -> None:
    raise ValueError(
        f"this model cannot be exported as {_CLASSES[name]}: {field} is {getattr(config, field)!r}, "
        f"and a stock {name} needs {expected}. Keep it as a checkpoint of ours, or train one with it"
    )


def to_hugging_face(config: DecoderConfig) -> dict[str, Any]:
    """The `config.json` of the stock model that computes the same, without token ids and dtype."""
    name = architecture_of(config)
    common = {
        "architectures": [_CLASSES[name]],
        "model_type": name,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "initializer_range": config.init_std,
        "use_cache": True,
    }
    return common | (_gpt2(config) if name == "gpt2" else _llama(config, name))


def _gpt2(config: DecoderConfig) -> dict[str, Any]:
    return {
        "n_positions": config.max_len,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "activation_function": "gelu" if config.feed_forward == "gelu" else "gelu_new",
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
    }


def _llama(config: DecoderConfig, name: Architecture) -> dict[str, Any]:
    values = {
        "max_position_embeddings": config.max_len,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.d_ff,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "attention_bias": config.attention_bias,
        "attention_dropout": config.dropout,
        # The older two keys, which transformers 4 and 5, vLLM and llama.cpp's converter all read.
        **_rotary_out(config),
    }
    if name == "llama":
        return values | {"mlp_bias": config.feed_forward_bias}
    sliding = config.window is not None
    return values | {
        "use_sliding_window": sliding,
        "sliding_window": config.window,
        "max_window_layers": 0 if sliding else config.n_layers,  # the first layer that slides
    }


def _rotary_out(config: DecoderConfig) -> dict[str, Any]:
    base, scaling, width = config.rope_base, config.rope_scaling, config.rope_dim
    if scaling is None:
        return {"rope_theta": base, "rope_scaling": None}
    if scaling.kind == "ntk":  # no such thing there, and none needed: it is another base
        assert width is not None
        return {"rope_theta": base * scaling.factor ** (width / (width - 2)), "rope_scaling": None}
    values: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind != "linear":
        values["original_max_position_embeddings"] = scaling.original_max_len
        values |= {
            key: getattr(scaling, key) for key in _BLEND[scaling.kind] if getattr(scaling, key) is not None
        }
    return {"rope_theta": base, "rope_scaling": values}


def from_hugging_face(values: dict[str, Any], where: str) -> DecoderConfig:
    """Our configuration from the contents of a `config.json`; `where` names the file in errors.

    Raises:
        ValueError: another architecture, or a setting of it not supported here; a missing or ill-typed value.
    """
    kind = values.get("model_type")
    if kind == "gpt2":
        ours = _from_gpt2(values, where)
    elif kind in ("llama", "qwen3"):
        ours = _from_llama(values, where)
    else:
        raise ValueError(f"{where}: model_type is {kind!r}, expected one of {', '.join(map(repr, _CLASSES))}")
    ours |= {
        "vocab_size": _need(values, "vocab_size", where),
        "init_std": values.get("initializer_range", 0.02),
    }
    return from_dict(DecoderConfig, ours, where)


def _from_gpt2(values: dict[str, Any], where: str) -> dict[str, Any]:
    _expect(
        values,
        where,
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
    )
    activation = values.get("activation_function", "gelu_new")
    if not isinstance(activation, str) or activation not in _GELU:
        raise ValueError(
            f"{where}: activation_function is {activation!r}, expected one of {', '.join(_GELU)}"
        )
    d_model = _need(values, "n_embd", where)
    return {
        "max_len": _need(values, "n_positions", where),
        "d_model": d_model,
        "n_layers": _need(values, "n_layer", where),
        "n_heads": _need(values, "n_head", where),
        "d_ff": values.get("n_inner"),
        "positions": "learned",
        "norm": "layernorm",
        "norm_eps": values.get("layer_norm_epsilon", 1e-5),
        "qk_norm": False,
        "feed_forward": _GELU[activation],
        "attention_bias": True,
        "feed_forward_bias": True,
        "tied": values.get("tie_word_embeddings", True),
    }


def _from_llama(values: dict[str, Any], where: str) -> dict[str, Any]:
    _expect(values, where, hidden_act="silu")
    qwen = values["model_type"] == "qwen3"
    base, scaling = _rotary(values, where)
    return {
        "max_len": _need(values, "max_position_embeddings", where),
        "d_model": _need(values, "hidden_size", where),
        "n_layers": _need(values, "num_hidden_layers", where),
        "n_heads": _need(values, "num_attention_heads", where),
        "n_kv_heads": values.get("num_key_value_heads"),
        "head_dim": values.get("head_dim", 128 if qwen else None),
        "d_ff": _need(values, "intermediate_size", where),
        "rope_base": base,
        "rope_scaling": scaling,
        "norm_eps": values.get("rms_norm_eps", 1e-6),
        "qk_norm": qwen,
        "attention_bias": values.get("attention_bias", False),
        "feed_forward_bias": False if qwen else values.get("mlp_bias", False),
        "window": _window(values, where) if qwen else None,
        "tied": values.get("tie_word_embeddings", False),
    }


def _rotary(values: dict[str, Any], where: str) -> tuple[Any, dict[str, Any] | None]:
    """Base and scaling, from transformers 5's `rope_parameters` or from the older two keys."""
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ValueError(f"{where}: rope_parameters is {rope!r}, expected an object with named values")
    base = rope.get("rope_theta", values.get("rope_theta", 10_000.0))
    kind = rope.get("rope_type", rope.get("type", "default"))
    _expect(values | rope, where, partial_rotary_factor=1.0, mscale=None, mscale_all_dim=None, truncate=True)
    if kind == "default":
        return base, None
    if kind not in ("linear", "yarn", "llama3"):
        raise ValueError(f"{where}: rope_type is {kind!r}, expected default, linear, yarn or llama3")
    factor, length = _need(rope, "factor", where), _need(values, "max_position_embeddings", where)
    scaling = {"kind": kind, "factor": factor}
    if kind == "linear":  # says no trained length; this one is consistent and has no part in the arithmetic
        return base, scaling | {"original_max_len": max(1, int(length // factor))}
    scaling["original_max_len"] = rope.get("original_max_position_embeddings") or length
    return base, scaling | {name: rope[name] for name in _BLEND[kind] if rope.get(name) is not None}


def _window(values: dict[str, Any], where: str) -> Any:
    """The sliding window, which for us is one for all layers."""
    if not values.get("use_sliding_window") or values.get("sliding_window") is None:
        return None
    kinds, first = values.get("layer_types"), values.get("max_window_layers", 28)
    if kinds is None and isinstance(first, int):
        layers = _need(values, "num_hidden_layers", where)
        kinds = ["full_attention"] * (first > 0) + ["sliding_attention"] * (first < layers)
    if not isinstance(kinds, list):
        raise ValueError(
            f"{where}: layer_types is {kinds!r} and max_window_layers {first!r}, expected a list or a number"
        )
    if all(kind == "full_attention" for kind in kinds):
        return None
    if any(kind != "sliding_attention" for kind in kinds):
        raise ValueError(
            f"{where}: some layers slide and some do not (layer_types), expected one kind in all"
        )
    return _need(values, "sliding_window", where)


def _need(values: dict[str, Any], key: str, where: str) -> Any:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{where}: {key} is {value!r}, expected a number above 0")
    return value


def _expect(values: dict[str, Any], where: str, **wanted: Any) -> None:
    """Settings that change what is computed and that we have in one form only."""
    for key, value in wanted.items():
        if values.get(key, value) != value:
            raise ValueError(
                f"{where}: {key} is {values[key]!r}, expected {value!r}: nothing else is supported"
            )
