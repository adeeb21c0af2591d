"""Sizes worked out from a configuration against the model that it builds."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.models.size import (
    cache_bytes_per_token,
    count_parameters,
    training_flops_per_token,
    training_memory,
)
from trueformer.nn import attend
from trueformer.nn.cache import KVCache


def config(**changes):
    sizes = {"vocab_size": 50, "max_len": 32, "d_model": 32, "n_layers": 2, "n_heads": 4}
    return DecoderConfig(**(sizes | changes))


@settings(deadline=None, max_examples=60)
@given(
    changes=st.fixed_dictionaries(
        {
            "n_kv_heads": st.sampled_from([1, 2, 4]),
            "head_dim": st.sampled_from([None, 4, 16]),
            "positions": st.sampled_from(["rope", "learned", "sinusoidal", "none"]),
            "norm": st.sampled_from(["rmsnorm", "layernorm"]),
            "norm_placement": st.sampled_from(["pre", "post"]),
            "qk_norm": st.booleans(),
            "feed_forward": st.sampled_from(["swiglu", "gelu", "relu2"]),
            "attention_bias": st.booleans(),
            "feed_forward_bias": st.booleans(),
            "attention_sinks": st.booleans(),
            "tied": st.booleans(),
        }
    )
)
def test_counts_equal_the_built_models(changes):
    with torch.device("meta"):
        model = DecoderLM(config(**changes))
    count = count_parameters(model.config)
    parts = {"embedding": 0, "head": 0, "matrices": 0, "vectors": 0}
    for name, parameter in model.named_parameters():
        kind = "vectors" if parameter.dim() == 1 else "matrices"
        kind = "embedding" if name.startswith(("embedding.", "positions.")) else kind
        parts["head" if name.startswith("head.") else kind] += parameter.numel()
    assert {kind: getattr(count, kind) for kind in parts} == parts
    assert count.total == sum(p.numel() for p in model.parameters())


def test_smollm2_and_gpt2_have_their_published_sizes():
    smollm2 = DecoderConfig(
        vocab_size=49152,
        max_len=8192,
        d_model=576,
        n_layers=30,
        n_heads=9,
        n_kv_heads=3,
        d_ff=1536,
        qk_norm=False,
    )
    assert count_parameters(smollm2).total == 134_515_008
    gpt2 = DecoderConfig(
        vocab_size=50257, max_len=1024, d_model=768, n_layers=12, n_heads=12, positions="learned",
        norm="layernorm", qk_norm=False, feed_forward="gelu_tanh", attention_bias=True,
        feed_forward_bias=True,
    )  # fmt: skip
    assert count_parameters(gpt2).total == 124_439_808


@pytest.mark.parametrize("changes", [{}, {"n_kv_heads": 1}, {"tied": False, "feed_forward": "gelu"}])
def test_flops_equal_those_counted_while_training(changes):
    # The plain backend multiplies every query with every key, as the formula charges.
    model, T = DecoderLM(config(**changes), backend="plain"), 32
    with FlopCounterMode(display=False) as counter:
        model(torch.randint(50, (3, T))).sum().backward()
    assert training_flops_per_token(model.config, T) * 3 * T == counter.get_total_flops()


def test_a_window_limits_the_keys_that_are_charged():
    free, windowed = config(), config(window=8)
    assert training_flops_per_token(windowed, 32) < training_flops_per_token(free, 32)
    assert training_flops_per_token(windowed, 32) == training_flops_per_token(free, 8)
    assert training_flops_per_token(windowed, 4) == training_flops_per_token(free, 4)


def test_cache_bytes_are_those_of_the_cache():
    for changes in ({}, {"n_kv_heads": 1, "head_dim": 16}):
        cache = KVCache(config(**changes), 1, 10, dtype=torch.bfloat16)
        held = sum(t.numel() * t.element_size() for t in cache.keys + cache.values)
        assert cache_bytes_per_token(config(**changes), bytes_per_value=2) * 10 == held


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    "changes", [{}, {"n_kv_heads": 1}, {"feed_forward": "gelu", "norm": "layernorm", "positions": "learned"}]
)
def test_activations_are_estimated_within_a_third(changes, autocast, monkeypatch):
    # Chunked products on a CPU keep attention weights as well, which fused kernels on any device do not.
    monkeypatch.setattr(attend, "suits_short", lambda q, k: False)
    model = DecoderLM(config(d_model=128, n_layers=6, max_len=64, **changes))
    kept = {}
    weights = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is used twice
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        model.hidden(torch.randint(50, (4, 64)))
    measured = sum(nbytes for nbytes, _ in kept.values())
    memory = training_memory(
        model.config, tokens=256, optimizer="adamw", parameter_bytes=4, compute_bytes=2 if autocast else 4,
        masters=False, loss_chunk=0,
    )  # fmt: skip
    assert memory.activations == pytest.approx(measured, rel=1 / 3)


def test_memory_of_weights_gradients_and_optimizers():
    small = config()
    count = count_parameters(small)

    def memory(optimizer, parameter_bytes=4, masters=False):
        return training_memory(
            small, tokens=64, optimizer=optimizer, parameter_bytes=parameter_bytes, compute_bytes=2,
            masters=masters, loss_chunk=16,
        )  # fmt: skip

    assert memory("adamw").parameters == memory("adamw").gradients == 4 * count.total
    assert memory("adamw").optimizer == memory("adamuon").optimizer == 8 * count.total
    assert memory("muon").optimizer == 8 * count.total - 4 * count.matrices
    assert memory("adamw", 2, True).optimizer == 10 * count.total
    assert memory("adamw", 2).parameters == 2 * count.total
    whole = memory("adamw")
    assert whole.total == whole.parameters + whole.gradients + whole.optimizer + whole.activations


def test_sizes_need_no_torch():
    code = "import sys, trueformer.models.size; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
