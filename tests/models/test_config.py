"""Configurations: what cannot work is refused with the value, what was expected and the remedy."""

import math

import pytest

from trueformer.config import from_dict, to_dict
from trueformer.models.config import DecoderConfig, RopeScaling

SIZES = {"vocab_size": 19, "max_len": 24, "d_model": 32, "n_layers": 2, "n_heads": 4}


def make(**changes):
    return DecoderConfig(**(SIZES | changes))


def test_derived_sizes_are_always_set():
    config = make()
    assert (config.n_kv_heads, config.head_dim, config.rope_dim, config.d_ff) == (4, 8, 8, 96)
    assert make(feed_forward="gelu").d_ff == 128


def test_r6_d_model_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="d_model is 30, not divisible by n_heads = 4: use d_model = 32"):
        make(d_model=30)
    assert make(d_model=30, head_dim=8).head_dim == 8


def test_a4b_an_odd_rotary_width_is_refused():
    with pytest.raises(ValueError, match=r"rope_dim is 5: expected an even width of at most head_dim = 5"):
        make(d_model=20)
    with pytest.raises(ValueError, match="rope_dim is 16: expected an even width of at most head_dim = 8"):
        make(rope_dim=16)
    assert make(d_model=20, positions="learned").head_dim == 5


def test_t2_no_width_can_be_zero():
    for name in ("head_dim", "rope_dim", "n_kv_heads", "d_ff", *SIZES):
        for value in (0, -4):
            with pytest.raises(ValueError, match=f"{name} is {value}: expected a whole number of at least 1"):
                make(**{name: value})


BAD = [
    ({"n_kv_heads": 3}, "n_kv_heads is 3, which does not divide n_heads = 4"),
    ({"n_kv_heads": 8}, "n_kv_heads is 8, which does not divide n_heads = 4"),
    ({"rope_base": 1.0}, "rope_base is 1.0: expected more than 1"),
    ({"rope_base": math.nan}, "rope_base is nan"),
    ({"window": 0}, "window is 0"),
    ({"dropout": 1.0}, "dropout is 1.0: expected 0 <= dropout < 1"),
    ({"dropout": -0.1}, "dropout is -0.1"),
    ({"dropout": math.nan}, "dropout is nan"),
    ({"norm_eps": 0.0}, "norm_eps is 0.0: expected a number above 0"),
    ({"init_std": math.nan}, "init_std is nan"),
    ({"logit_softcap": -1.0}, "logit_softcap is -1.0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_numbers_without_meaning_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


BAD_SCALINGS = [
    ({"factor": 0.5}, "rope factor is 0.5: expected at least 1"),
    ({"factor": math.nan}, "rope factor is nan"),
    ({"original_max_len": 0}, "original_max_len is 0"),
    ({"low_freq_factor": 4.0}, "expected 0 < low < high"),
    ({"beta_slow": 64.0}, "expected 0 < slow < fast"),
    ({"attention_factor": 0.0}, "attention_factor is 0.0: expected a number above 0, or none"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_SCALINGS)
def test_scalings_without_meaning_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        RopeScaling(**({"kind": "yarn", "factor": 2.0, "original_max_len": 128} | changes))


def test_a_scaling_that_would_be_ignored_is_refused():
    scaling = RopeScaling(kind="ntk", factor=2.0, original_max_len=128)
    with pytest.raises(ValueError, match="rope_scaling is given but positions is 'learned'"):
        make(positions="learned", rope_scaling=scaling)
    with pytest.raises(ValueError, match="rope_dim is 2: ntk scaling"):
        make(rope_dim=2, rope_scaling=scaling)


def test_a_configuration_survives_saving():
    scaling = RopeScaling(kind="llama3", factor=8.0, original_max_len=8192)
    config = make(rope_scaling=scaling, window=7, logit_softcap=30.0)
    assert from_dict(DecoderConfig, to_dict(config)) == config
    with pytest.raises(ValueError, match="unknown key 'd_modle'; did you mean 'd_model'"):
        from_dict(DecoderConfig, to_dict(config) | {"d_modle": 3})
