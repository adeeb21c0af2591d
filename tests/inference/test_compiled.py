"""The compiled step against the eager one: same logits, same tokens, one decoder never another's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trueformer.inference.compiled import CompiledDecoder
from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.inference.quantize import quantize_int8
from trueformer.inference.steps import EagerSteps
from trueformer.models.decoder import DecoderLM

LENGTH = 24


def largest_difference(model: DecoderLM, decoder: CompiledDecoder, rows: list[list[int]]) -> float:
    """Of logits over a prompt and a cache filled to the end, eager and compiled fed the same tokens."""
    eager, worst = EagerSteps(model), 0.0
    with torch.inference_mode():
        pairs = [(eager.prefill(rows, LENGTH), decoder.prefill(rows, LENGTH))]
        for step in range(LENGTH - max(map(len, rows))):
            tokens_B = torch.arange(len(rows)) + step
            pairs.append((eager.decode(tokens_B), decoder.decode(tokens_B)))
    for expected_BV, logits_BV in pairs:
        worst = max(worst, float((logits_BV - expected_BV).abs().max()))
    assert decoder.full()
    return worst


def test_the_compiled_step_equals_the_eager_one_and_two_decoders_keep_apart(
    build: Callable[..., DecoderLM],
) -> None:
    models = [build(seed=seed, n_layers=1, window=9, max_len=32) for seed in (0, 1)]
    decoders = [CompiledDecoder(model, max_len=LENGTH, batch_size=3) for model in models]
    for model, decoder in zip(models, decoders, strict=True):
        # float32, summed in another order; logits are of order 1 to 10. Fewer rows than the batch fit too.
        for rows in ([[1, 2, 3], [4], [5, 6]], [[7], [8, 9]]):
            assert largest_difference(model, decoder, rows) < 2e-5
        for prompts in ([[1, 2, 3], [4]], [[1] * 20, [2], [3, 4]]):
            config = SamplingConfig(seed=4, top_p=0.9)
            expected = generate(model, prompts, config, max_new_tokens=LENGTH - 20)
            assert generate(decoder, prompts, config, max_new_tokens=LENGTH - 20) == expected
    _refuses_what_it_was_not_compiled_for(decoders[0])


def _refuses_what_it_was_not_compiled_for(decoder: CompiledDecoder) -> None:
    with pytest.raises(ValueError, match="4 prompts for a decoder compiled for 3: give fewer"):
        generate(decoder, [[1]] * 4, max_new_tokens=1)
    with pytest.raises(ValueError, match=r"come to 25, and the decoder was compiled for 24: ask for fewer"):
        generate(decoder, [[1]], max_new_tokens=24)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_len": 25}, "cache max_len is 25: expected 1 to the model's max_len = 24"),
        ({"max_len": 8, "batch_size": 0}, "batch_size is 0: expected a whole number of rows, at least 1"),
    ],
)
def test_t19_sizes_that_do_not_fit_are_refused_before_compiling(
    tiny: DecoderLM, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        CompiledDecoder(tiny, **changes)


def test_a_model_in_training_mode_is_refused(build: Callable[..., DecoderLM]) -> None:
    with pytest.raises(ValueError, match="training mode"):
        CompiledDecoder(build().train(), max_len=8)


KINDS = {
    "multi-query": {"n_kv_heads": 1, "tied": False},
    "gpt-2": {
        "n_kv_heads": 4,
        "positions": "learned",
        "norm": "layernorm",
        "feed_forward": "gelu",
        "attention_bias": True,
        "feed_forward_bias": True,
        "d_ff": 37,
    },
    "sinks": {"positions": "sinusoidal", "attention_sinks": True, "logit_softcap": 5.0, "d_model": 36},
    "post-norm": {"rope_layout": "interleaved", "norm_placement": "post", "qk_norm": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_compiles_to_the_same(
    build: Callable[..., DecoderLM], kind: str, batch_size: int
) -> None:
    changes = KINDS[kind] | ({"head_dim": 18} if kind == "sinks" else {})
    model = build(**changes)
    rows = [[1, 2, 3], [4], [5, 6]][:batch_size]
    decoder = CompiledDecoder(model, max_len=LENGTH, batch_size=batch_size)
    assert largest_difference(model, decoder, rows) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True])
def test_bfloat16_and_int8_compile_to_the_same(build: Callable[..., DecoderLM], int8: bool) -> None:
    model = build(d_model=64, d_ff=128, init_std=0.2).to(torch.bfloat16)
    model = quantize_int8(model) if int8 else model
    decoder = CompiledDecoder(model, max_len=LENGTH)
    # bfloat16 keeps 8 bits: logits of order 4 move by up to 2^-6 a rounding, and the two paths round at
    # different places in each of some ten operations.
    assert largest_difference(model, decoder, [[1, 2, 3]]) < 0.15
