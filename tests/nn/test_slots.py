"""The slot cache: a pass over many slots gives each what it gets alone, whatever its neighbours do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.nn.slots import Share, SlotCache

KINDS = {
    "rope": {},
    "gqa": {"n_heads": 4, "n_kv_heads": 2},
    "learned": {"positions": "learned", "norm": "layernorm", "qk_norm": False, "feed_forward": "gelu_tanh"},
    "window": {"window": 3},
    "sinks": {"attention_sinks": True, "n_heads": 4, "n_kv_heads": 1},
}
# Rows of one matrix product may be summed in another order when there are more of them: float32 rounding of
# logits up to 10. A token seen too much or at a wrong place moves them by more than 0.01.
CLOSE = {"atol": 2e-5, "rtol": 1e-5}


def model(kind: str, backend="fast") -> DecoderLM:
    torch.manual_seed(0)
    shape = {"vocab_size": 29, "max_len": 32, "d_model": 32, "n_layers": 2, "n_heads": 2, "init_std": 0.3}
    made = DecoderLM(DecoderConfig(**(shape | KINDS[kind])), backend=backend).eval()
    for parameter in made.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1.0, 0.2)
    return made


def passes(
    subject: DecoderLM, cache: SlotCache, rows: list[tuple[int, list[int]]], shares: tuple[Share, ...] = ()
) -> dict[int, torch.Tensor]:
    """One pass over these slots' new tokens; logits of each slot's."""
    cache.plan([(slot, len(ids)) for slot, ids in rows], shares)
    with torch.inference_mode():
        logits = subject(torch.tensor([[i for _, ids in rows for i in ids]]), cache=cache)[0]
    parts = logits.split([len(ids) for _, ids in rows])
    return {slot: part for (slot, _), part in zip(rows, parts, strict=True)}


# What happens in each pass: which slots get how many tokens.
plans = st.lists(
    st.dictionaries(st.integers(0, 3), st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=6
)


@pytest.mark.parametrize("backend", ["fast", "plain"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(plan=plans)
def test_n9_any_mixture_of_slots_and_chunks_equals_a_full_forward_of_each(kind, backend, plan):
    subject = model(kind, backend)
    cache = SlotCache(subject.config, 4, 32)
    held: dict[int, list[int]] = {slot: [] for slot in range(4)}
    for chosen in plan:
        rows = [
            (slot, [(7 * slot + 3 * len(held[slot]) + i) % 29 for i in range(n)])
            for slot, n in chosen.items()
        ]
        found = passes(subject, cache, rows)
        for slot, ids in rows:
            held[slot] += ids
            with torch.inference_mode():
                alone = subject(torch.tensor([held[slot]]))[0, -len(ids) :]
            torch.testing.assert_close(found[slot], alone, **CLOSE)
    assert cache.lengths == [len(held[slot]) for slot in range(4)]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(earlier=st.integers(0, 4), now=st.integers(1, 4), shared=st.integers(1, 8), again=st.integers(0, 8))
def test_what_slots_share_goes_from_one_to_the_other_even_in_the_pass_that_reads_it(
    kind, earlier, now, shared, again
):
    shared = min(shared, earlier + now)
    again = min(again, shared)  # and from the second slot on to a third
    subject, text = model(kind), [3, 1, 4, 1, 5, 9, 2, 6]
    cache = SlotCache(subject.config, 4, 32)
    passes(subject, cache, [(3, [8] * 9), (2, [8] * 9)])  # what slots held before does not matter
    cache.cut(2, 0)
    if earlier:
        passes(subject, cache, [(0, text[:earlier])])
    shares = (Share(0, 2, shared), *([Share(2, 1, again)] if again else []))
    rows = [(0, text[earlier : earlier + now]), (2, [7, 7]), (1, [8])]
    found = passes(subject, cache, rows, shares)
    wanted = {0: text[: earlier + now], 2: [*text[:shared], 7, 7], 1: [*text[:again], 8]}
    for slot, ids in wanted.items():
        with torch.inference_mode():
            alone = subject(torch.tensor([ids]))[0, -len(found[slot]) :]
        torch.testing.assert_close(found[slot], alone, **CLOSE)
    assert cache.lengths == [earlier + now, again + 1, shared + 2, 9]


@pytest.mark.parametrize("kind", ["gqa", "window", "learned"])
def test_a_slot_cut_goes_on_as_if_it_had_been_written_so(kind):
    subject = model(kind)
    cache = SlotCache(subject.config, 3, 32)
    text = [3, 1, 4, 1, 5, 9, 2, 6]
    passes(subject, cache, [(0, text)])
    cache.cut(0, 3)
    found = passes(subject, cache, [(0, [8])])
    with torch.inference_mode():
        torch.testing.assert_close(found[0], subject(torch.tensor([[*text[:3], 8]]))[0, -1:], **CLOSE)
    assert cache.lengths == [4, 0, 0]


def test_n11_memory_is_that_of_the_slots_whatever_passes_through_them():
    subject = model("rope")
    cache = SlotCache(subject.config, 2, 16)
    before, places = cache.nbytes, [tensor.data_ptr() for tensor in cache.keys]
    assert before == 2 * 2 * 2 * 16 * 32 * 4  # keys and values, layers, slots, tokens, width, bytes
    for i in range(50):
        passes(subject, cache, [(i % 2, [1] * 16)])
        cache.cut(i % 2, 0)
    assert cache.nbytes == before
    assert [tensor.data_ptr() for tensor in cache.keys] == places


def test_what_does_not_fit_is_refused():
    subject = model("rope")
    cache = SlotCache(subject.config, 2, 8)
    with pytest.raises(ValueError, match="9 tokens for slot 1, which holds 0: expected 1 to 8"):
        cache.plan([(1, 9)])
    with pytest.raises(ValueError, match="expected each once"):
        cache.plan([(1, 2), (1, 2)])
    cache.plan([(1, 2)])
    with pytest.raises(ValueError, match="for a plan of 2 tokens"):
        subject(torch.tensor([[1, 2, 3]]), cache=cache)
    with pytest.raises(ValueError, match="expected 1 to the model's max_len"):
        SlotCache(subject.config, 1, 33)
    with pytest.raises(ValueError, match="n_slots is 0"):
        SlotCache(subject.config, 0, 8)
