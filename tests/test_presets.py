"""Presets have the published sizes; the dial derives a run, and whatever is given goes before it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.data.config import DataConfig
from trueformer.models.size import count_parameters
from trueformer.presets import PRESETS, depth_model, depth_run


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("gpt2", 124_439_808), ("llama3", 1_235_814_400), ("qwen3", 596_049_920), ("smollm2", 134_515_008)],
)
def test_a_preset_has_the_published_number_of_parameters(name, parameters):
    assert count_parameters(PRESETS[name]()).total == parameters


@settings(deadline=None)
@given(depth=st.integers(1, 40), vocab_size=st.integers(300, 60_000), tokens=st.integers(1, 10**9))
def test_every_depth_gives_a_run_that_can_be(depth, vocab_size, tokens):
    data = DataConfig()
    model = depth_model(depth, vocab_size=vocab_size, max_len=data.seq_len)
    run = depth_run(model, data, train_tokens=tokens)
    assert (run.model.n_layers, run.model.d_model) == (depth, 64 * depth)
    assert run.schedule.warmup_steps < run.loop.steps
    seen = run.loop.steps * run.loop.batch_size * data.seq_len
    assert run.loop.steps == 100 or seen <= 8.5 * tokens or seen <= 20.5 * count_parameters(model).total


def test_wider_models_get_lower_rates():
    def rate(depth: int) -> float:
        model = depth_model(depth, vocab_size=1000, max_len=256)
        return depth_run(model, DataConfig(), train_tokens=10**6).optim.lr_matrices

    assert rate(2) > rate(4) > rate(16)


def test_what_is_given_goes_before_what_is_derived():
    model = depth_model(4, vocab_size=1000, max_len=256, d_model=96, n_heads=3, n_kv_heads=3)
    assert (model.d_model, model.n_heads, model.n_kv_heads, model.head_dim) == (96, 3, 3, 32)
    run = depth_run(
        model,
        DataConfig(),
        train_tokens=10**6,
        optim={"lr_matrices": 0.5},
        schedule={"kind": "wsd"},
        loop={"steps": 7, "batch_size": 3},
    )
    assert (run.optim.lr_matrices, run.schedule.kind) == (0.5, "wsd")
    assert (run.loop.steps, run.loop.batch_size, run.loop.eval_every) == (7, 3, 1)
    assert run.optim.lr_embeddings != 0.5


def test_a_depth_of_nothing_is_refused():
    with pytest.raises(ValueError, match="depth is 0: expected at least 1"):
        depth_model(0, vocab_size=1000, max_len=256)
