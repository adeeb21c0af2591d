"""The cache: decoding with it equals decoding without it, in chunks, one by one, and beside other rows."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache, StaticKVCache

CACHES = [KVCache, StaticKVCache]
BACKENDS = ["fast", "plain"]
# Logits of order 1; the two ways sum the same products in other orders, through two layers.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}

shapes = st.fixed_dictionaries(
    {
        "n_kv_heads": st.sampled_from([1, 2, 4]),
        "window": st.none() | st.integers(1, 12),
        "attention_sinks": st.booleans(),
        "positions": st.sampled_from(["rope", "learned", "sinusoidal", "none"]),
        "norm_placement": st.sampled_from(["pre", "post"]),
        "rope_layout": st.sampled_from(["half", "interleaved"]),
        "qk_norm": st.booleans(),
    }
)


def make(backend="fast", **changes):
    sizes = {"vocab_size": 19, "max_len": 24, "d_model": 32, "n_layers": 2, "n_heads": 4, "init_std": 0.2}
    model = DecoderLM(DecoderConfig(**(sizes | changes)), backend=backend).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("sinks"):
            torch.nn.init.normal_(parameter)
    return model


def chunks(data, T):
    """T cut into chunks of 1 to T tokens."""
    cuts = data.draw(st.sets(st.integers(1, T - 1))) if T > 1 else set()
    ends = [0, *sorted(cuts), T]
    return list(itertools.pairwise(ends))


@pytest.mark.parametrize("kind", CACHES)
@settings(deadline=None, max_examples=30)
@given(data=st.data(), shape=shapes, B=st.integers(1, 3), T=st.integers(1, 14), seed=st.integers(0, 99))
@torch.no_grad()
def test_decoding_in_any_chunks_equals_one_pass(kind, data, shape, B, T, seed):
    torch.manual_seed(seed)
    model, ids = make(data.draw(st.sampled_from(BACKENDS)), **shape), torch.randint(19, (B, T))
    cache = kind(model.config, B, data.draw(st.integers(T, 24)))
    pieces = [model(ids[:, a:b], cache=cache) for a, b in chunks(data, T)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), **TOLERANCE)
    assert cache.length == T


@pytest.mark.parametrize("kind", CACHES)
@settings(deadline=None, max_examples=30)
@given(
    data=st.data(),
    shape=shapes,
    lengths=st.lists(st.integers(1, 8), min_size=2, max_size=3),
    steps=st.integers(0, 4),
    seed=st.integers(0, 99),
)
@torch.no_grad()
def test_left_padded_rows_equal_each_row_alone(kind, data, shape, lengths, steps, seed):
    torch.manual_seed(seed)
    model = make(data.draw(st.sampled_from(BACKENDS)), **shape)
    rows = [torch.randint(19, (n + steps,)) for n in lengths]
    start_B = torch.tensor([max(lengths) - n for n in lengths])
    ids = torch.stack(
        [torch.cat([torch.randint(19, (int(s),)), r]) for s, r in zip(start_B, rows, strict=True)]
    )
    cache = kind(model.config, len(rows), 24, start_B=start_B)
    pieces = [model(ids[:, a:b], cache=cache) for a, b in chunks(data, max(lengths))]
    pieces += [model(ids[:, t : t + 1], cache=cache) for t in range(max(lengths), max(lengths) + steps)]
    together = torch.cat(pieces, dim=1)
    assert together.isfinite().all()
    for b, row in enumerate(rows):
        torch.testing.assert_close(together[b, int(start_B[b]) :], model(row[None])[0], **TOLERANCE)


@pytest.mark.parametrize("kind", CACHES)
@torch.no_grad()
def test_n9_the_position_advances_once_a_forward_pass_and_never_in_a_layer(kind):
    model, ids = make(n_layers=3), torch.randint(19, (1, 5))
    cache = kind(model.config, 1, 8)
    seen = []
    for block in model.blocks:
        block.register_forward_hook(lambda *_: seen.append(cache.length))
    model(ids, cache=cache)
    model(ids[:, :1], cache=cache)
    assert seen == [0, 0, 0, 5, 5, 5]
    assert cache.length == 6
    for layer in range(3):
        assert (cache.keys[layer][:, :, :6] != 0).any(dim=-1).all()
        assert (cache.keys[layer][:, :, 6:] == 0).all()


@pytest.mark.parametrize("kind", CACHES)
@torch.no_grad()
def test_n11_reset_forgets_everything_and_memory_never_grows(kind):
    model = make()
    cache = kind(model.config, 2, 10)
    memory = [t.data_ptr() for t in cache.keys + cache.values]
    for _ in range(3):
        ids = torch.randint(19, (2, 10))
        torch.testing.assert_close(model(ids, cache=cache), model(ids), **TOLERANCE)
        cache.reset()
        assert cache.length == 0
    assert [t.data_ptr() for t in cache.keys + cache.values] == memory


@torch.no_grad()
def test_n11_reset_takes_the_next_batchs_padding():
    model, ids = make(), torch.randint(19, (1, 6))
    cache = KVCache(model.config, 1, 10, start_B=torch.tensor([2]))
    model(ids, cache=cache)
    cache.reset()
    torch.testing.assert_close(model(ids, cache=cache), model(ids), **TOLERANCE)
    cache.reset(start_B=torch.tensor([1]))
    torch.testing.assert_close(model(ids, cache=cache)[:, 1:], model(ids[:, 1:]), **TOLERANCE)


@torch.no_grad()
def test_t21_a_step_costs_one_token_however_long_the_text():
    model = make(max_len=512)
    cache = KVCache(model.config, 1, 512)
    costs = []
    for _ in range(4):
        model(torch.randint(19, (1, 100)), cache=cache)
        with FlopCounterMode(display=False) as counter:
            model(torch.randint(19, (1, 1)), cache=cache)
        costs.append(counter.get_total_flops())
    with FlopCounterMode(display=False) as counter:
        model(torch.randint(19, (1, 404)))
    assert costs[-1] < 1.5 * costs[0]
    assert costs[-1] < counter.get_total_flops() / 200


@pytest.mark.parametrize("kind", CACHES)
def test_what_cannot_fit_is_refused(kind):
    model = make()
    with pytest.raises(ValueError, match=r"cache max_len is 25.*max_len = 24"):
        kind(model.config, 1, 25)
    with pytest.raises(ValueError, match=r"start_B has shape \(1,\): expected \(2,\)"):
        kind(model.config, 2, 8, start_B=torch.zeros(1, dtype=torch.long))
    cache = kind(model.config, 1, 8)
    model(torch.zeros(1, 6, dtype=torch.long), cache=cache)
    with pytest.raises(ValueError, match=r"3 tokens after the cache's 6.*max_len = 8"):
        model(torch.zeros(1, 3, dtype=torch.long), cache=cache)
    assert cache.length == 6
    with pytest.raises(ValueError, match="2 rows"):
        model(torch.zeros(2, 1, dtype=torch.long), cache=cache)
    with pytest.raises(ValueError, match="start_B"):
        model(
            torch.zeros(1, 1, dtype=torch.long), key_valid_BS=torch.ones(1, 1, dtype=torch.bool), cache=cache
        )


@torch.no_grad()
def test_a_static_cache_compiles_once_and_without_breaks():
    model, ids = make(n_kv_heads=2), torch.randint(19, (2, 9))
    cache = StaticKVCache(model.config, 2, 12)
    compiles = []

    def counting_backend(graph, inputs):
        compiles.append(graph)
        return graph

    @torch.compile(fullgraph=True, backend=counting_backend)
    def step(ids_B1):
        return model(ids_B1, cache=cache)

    pieces = [model(ids[:, :4], cache=cache)] + [step(ids[:, t : t + 1]) for t in range(4, 9)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), **TOLERANCE)
    assert len(compiles) == 1
