"""Generation: the cached, batched path against the plain twin, one row and one whole pass a token."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import Decoding, Event, Generation, generate, stream
from trueformer.inference.plain import plain_generate
from trueformer.inference.steps import EagerSteps
from trueformer.models.decoder import DecoderLM

VOCAB, MAX_LEN = 31, 24
GREEDY = SamplingConfig(temperature=0.0)
KINDS = [
    {},
    {"n_kv_heads": 1, "window": 3},
    {"n_kv_heads": 4, "positions": "learned", "norm": "layernorm", "feed_forward": "gelu"},
    {"positions": "sinusoidal", "attention_sinks": True, "logit_softcap": 5.0},
    {"rope_layout": "interleaved", "tied": False, "norm_placement": "post", "qk_norm": False},
]
prompts_of = st.lists(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12), min_size=1, max_size=4)
sampling_of = st.builds(
    SamplingConfig,
    temperature=st.sampled_from([0.0, 0.7, 1.3]),
    top_k=st.sampled_from([None, 7]),
    top_p=st.sampled_from([1.0, 0.83]),
    min_p=st.sampled_from([0.0, 0.02]),
    repetition_penalty=st.sampled_from([1.0, 1.4]),
    seed=st.integers(0, 2**32),
)
MODELS: dict[int, DecoderLM] = {}


def model_of(kind: int, build: Callable[..., DecoderLM]) -> DecoderLM:
    if kind not in MODELS:
        MODELS[kind] = build(seed=kind, **KINDS[kind])
    return MODELS[kind]


# In float64: two paths' float32 logits differ by about 1e-6, and now and then a draw falls in between.
@settings(deadline=None, max_examples=40)
@given(data=st.data(), kind=st.integers(0, len(KINDS) - 1), new=st.integers(1, 16))
def test_t20_t21_n9_cached_batches_of_unequal_rows_equal_each_row_alone_without_a_cache(
    build: Callable[..., DecoderLM], data: st.DataObject, kind: int, new: int
) -> None:
    model = deepcopy(model_of(kind, build)).double()
    prompts = data.draw(prompts_of)
    rows = data.draw(st.lists(sampling_of, min_size=len(prompts), max_size=len(prompts)))
    stop_ids = data.draw(st.sets(st.integers(0, VOCAB - 1), max_size=3))
    together = generate(model, prompts, rows, max_new_tokens=new, stop_ids=stop_ids)
    for prompt, config, result in zip(prompts, rows, together, strict=True):
        assert result.ids == plain_generate(model, prompt, config, max_new_tokens=new, stop_ids=stop_ids)
        if len(result.ids) == new:
            assert result.reason == "length"
        elif len(prompt) + len(result.ids) == MAX_LEN:
            assert result.reason == "context"
        else:
            assert result.reason == "stop"


@settings(deadline=None, max_examples=30)
@given(data=st.data(), kind=st.integers(0, len(KINDS) - 1))
def test_n9_cached_logits_equal_uncached_ones_at_every_step(
    build: Callable[..., DecoderLM], data: st.DataObject, kind: int
) -> None:
    model = model_of(kind, build)
    rows = [list(row) for row in data.draw(prompts_of)]
    steps = EagerSteps(model)
    with torch.inference_mode():
        logits_BV = steps.prefill(rows, MAX_LEN)
        for token in data.draw(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=6)):
            for row, cached_V in zip(rows, logits_BV, strict=True):
                # float32 in another order of summation; logits are of order 1 to 10.
                torch.testing.assert_close(cached_V, model(torch.tensor([row]))[0, -1], atol=2e-5, rtol=2e-5)
                row.append(token)
            logits_BV = steps.decode(torch.full((len(rows),), token))


def test_t21_a_new_token_costs_a_pass_over_itself_only(tiny: DecoderLM) -> None:
    lengths = []
    hook = tiny.blocks[0].register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))
    generate(tiny, [[1, 2, 3, 4]], GREEDY, max_new_tokens=5)
    hook.remove()
    assert lengths == [4, 1, 1, 1, 1]


def test_a_short_row_goes_on_to_its_own_end_after_a_long_neighbour_filled_the_context(
    tiny: DecoderLM,
) -> None:
    long, short = list(range(20)), [5, 6]
    both = generate(tiny, [long, short], GREEDY, max_new_tokens=100)
    assert [len(result.ids) for result in both] == [4, 22]
    assert [result.reason for result in both] == ["context", "context"]
    assert both[1].ids == plain_generate(tiny, short, GREEDY, max_new_tokens=100)


def test_a_rows_end_has_a_reason(tiny: DecoderLM) -> None:
    first = generate(tiny, [[1, 2]], GREEDY, max_new_tokens=3)[0]
    assert (len(first.ids), first.reason) == (3, "length")
    stopped = generate(tiny, [[1, 2]], GREEDY, max_new_tokens=3, stop_ids=[first.ids[1]])[0]
    assert stopped == Generation(ids=first.ids[: first.ids.index(first.ids[1])], reason="stop")


def test_stream_gives_what_generate_gives_as_it_comes(tiny: DecoderLM) -> None:
    prompts, config = [[1, 2, 3], [4]], SamplingConfig(seed=3)
    whole = generate(tiny, prompts, config, max_new_tokens=9, stop_ids=[7])
    ids: list[list[int]] = [[], []]
    ends: dict[int, Any] = {}
    for event in stream(tiny, prompts, config, max_new_tokens=9, stop_ids=[7]):
        assert isinstance(event, Event)
        assert event.row not in ends, "nothing comes after a row's end"
        ids[event.row] += [] if event.token is None else [event.token]
        if event.reason is not None:
            ends[event.row] = event.reason
    assert ids == [result.ids for result in whole]
    assert [ends[0], ends[1]] == [result.reason for result in whole]


def test_a_stream_can_be_left_early_and_computes_no_more(tiny: DecoderLM) -> None:
    passes = []
    hook = tiny.blocks[0].register_forward_pre_hook(lambda module, args: passes.append(1))
    events = stream(tiny, [[1]], GREEDY, max_new_tokens=20)
    next(events)
    next(events)
    hook.remove()
    assert len(passes) == 2


def test_a_row_ended_from_outside_keeps_its_tokens_and_leaves_the_others_alone(tiny: DecoderLM) -> None:
    config = SamplingConfig(seed=1)
    decoding = Decoding(tiny, [[1, 2], [3]], config, max_new_tokens=6)
    decoding.step()
    decoding.finish(0)
    while not decoding.done:
        assert all(event.row == 1 for event in decoding.step())
    cut, whole = decoding.results()
    assert (len(cut.ids), cut.reason) == (1, "stop")
    assert whole == generate(tiny, [[3]], config, max_new_tokens=6)[0]


def test_one_configuration_means_one_seed_for_every_row(tiny: DecoderLM) -> None:
    a, b = generate(tiny, [[1, 2], [1, 2]], SamplingConfig(seed=9), max_new_tokens=8)
    assert a == b
    c, d = generate(tiny, [[1, 2]] * 2, [SamplingConfig(seed=9), SamplingConfig(seed=10)], max_new_tokens=8)
    assert c == a
    assert d != a


def test_generation_leaves_no_trace_in_the_model_or_in_gradient_mode(tiny: DecoderLM) -> None:
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    state = torch.get_rng_state()
    iterator = stream(tiny, [[1]], SamplingConfig(), max_new_tokens=3)
    next(iterator)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert torch.equal(state, torch.get_rng_state()), "the global generator is not used"
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in tiny.parameters())


@pytest.mark.parametrize(
    ("prompts", "more", "message"),
    [
        ([], {}, "there are no prompts: expected at least one"),
        ([[1], []], {}, "prompt 1 is empty: expected at least one token; begin with the BOS token"),
        ([[1] * 24], {}, "prompt 0 has 24 tokens, which leaves no room in the model's max_len = 24"),
        ([[1, 31]], {}, r"prompt 0 holds the id 31: expected 0 to 30"),
        ([[-1]], {}, r"prompt 0 holds the id -1: expected 0 to 30"),
        ([[1]], {"max_new_tokens": 0}, "max_new_tokens is 0: expected a whole number of at least 1"),
        ([[1]], {"stop_ids": [99]}, "stop_ids holds the id 99: expected 0 to 30"),
        ([[1]], {"sampling": [GREEDY, GREEDY]}, "2 sampling configurations for 1 prompts"),
    ],
)
@pytest.mark.parametrize("entry", [generate, stream])
def test_t19_r19_requests_that_cannot_run_are_refused_at_once(
    tiny: DecoderLM, entry: Callable[..., Any], prompts: list[list[int]], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        entry(tiny, prompts, **{"sampling": GREEDY, "max_new_tokens": 4, **more})


def test_a_model_in_training_mode_is_refused(build: Callable[..., DecoderLM]) -> None:
    with pytest.raises(ValueError, match=r"training mode, where dropout acts: call model.eval\(\)"):
        generate(build().train(), [[1]], GREEDY, max_new_tokens=1)


def test_r19_the_longest_prompt_and_the_shortest_both_run(tiny: DecoderLM) -> None:
    longest, shortest = generate(tiny, [[1] * 23, [0]], GREEDY, max_new_tokens=1)
    assert (len(longest.ids), len(shortest.ids)) == (1, 1)
    assert (longest.reason, shortest.reason) == ("length", "length")
