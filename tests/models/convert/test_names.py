"""Moves between our tensors and others' are exact and lose nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.models.config import DecoderConfig
from trueformer.models.convert.names import (
    GGUF,
    HUGGING_FACE,
    Place,
    pairs_to_halves,
    places,
    their_shapes,
    to_ours,
    to_theirs,
)
from trueformer.models.decoder import DecoderLM
from trueformer.nn.rotary import Rotary, apply_rotary

TINY = {"vocab_size": 11, "max_len": 8, "d_model": 8, "n_layers": 2, "n_heads": 2, "d_ff": 6}
BIASED = {"attention_bias": True, "feed_forward_bias": True}
GPT2 = {"positions": "learned", "norm": "layernorm", "qk_norm": False, "feed_forward": "gelu_tanh"}
CONFIGS = {
    "gpt2": DecoderConfig(**TINY, **GPT2, **BIASED),
    "llama": DecoderConfig(**TINY, qk_norm=False, n_kv_heads=1, tied=False, **BIASED),
    "qwen3": DecoderConfig(**TINY, n_kv_heads=1, head_dim=6),
}


@pytest.mark.parametrize("family", CONFIGS)
def test_there_and_back_is_the_same_bit_for_bit(family: str) -> None:
    config = CONFIGS[family]
    parameters = {name: p.detach() for name, p in DecoderLM(config).named_parameters()}
    at = places(HUGGING_FACE[family], parameters)
    theirs = to_theirs(at, parameters.__getitem__)
    shapes = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    assert {name: tuple(tensor.shape) for name, tensor in theirs.items()} == their_shapes(shapes, at)
    for name, tensor in parameters.items():
        assert torch.equal(to_ours(theirs[at[name].name], at[name], config), tensor), name


def test_gpt2_is_fused_and_transposed() -> None:
    config = CONFIGS["gpt2"]
    shapes = {name: tuple(p.shape) for name, p in DecoderLM(config).named_parameters()}
    theirs = their_shapes(shapes, places(HUGGING_FACE["gpt2"], shapes))
    assert theirs["transformer.h.1.attn.c_attn.weight"] == (8, 24)
    assert theirs["transformer.h.1.attn.c_attn.bias"] == (24,)
    assert theirs["transformer.h.0.mlp.c_fc.weight"] == (8, 6)
    assert places(GGUF["gpt2"], shapes)["blocks.1.attention.v.weight"] == Place(
        "blk.1.attn_qkv.weight", part=2
    )


def test_no_two_parameters_share_a_place() -> None:
    for table in (*HUGGING_FACE.values(), *GGUF.values()):
        assert len({(place.name, place.part) for place in table.values()}) == len(table)


def test_pairs_become_halves() -> None:
    assert pairs_to_halves(torch.arange(4), 4).tolist() == [0, 2, 1, 3]
    assert pairs_to_halves(torch.arange(8)[:, None], 4).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@settings(max_examples=25, deadline=None)
@given(heads=st.integers(1, 4), half=st.integers(1, 8), seed=st.integers(0, 99))
def test_scores_do_not_change_when_pairs_become_halves(heads: int, half: int, seed: int) -> None:
    """The interleaved rotation of x and the half rotation of the reordered x have the same products."""
    head_dim, length = 2 * half, 6
    config = DecoderConfig(
        vocab_size=2, max_len=length, d_model=8, n_layers=1, n_heads=heads, head_dim=head_dim
    )
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 1, length, heads, head_dim, generator=generator).unbind()
    rotation = Rotary(config)(torch.arange(length)[None])
    scores = [
        torch.einsum("btnh,bsnh->bnts", apply_rotary(a, rotation, layout), apply_rotary(b, rotation, layout))
        for a, b, layout in ((q, k, "interleaved"), (_halves(q), _halves(k), "half"))
    ]
    # float32 sums of at most 16 products of size about 1, in another order
    assert torch.allclose(scores[0], scores[1], atol=1e-5)


def _halves(x_BTNH: torch.Tensor) -> torch.Tensor:
    rows = x_BTNH.flatten(2).movedim(-1, 0)
    return pairs_to_halves(rows, x_BTNH.shape[-1]).movedim(0, -1).reshape(x_BTNH.shape)
