"""Masks: each entry against the definition, read aloud; positions against counting."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.nn.masks import attention_mask, positions_within


@settings(deadline=None, max_examples=60)
@given(data=st.data(), B=st.integers(1, 3), T=st.integers(1, 6), length=st.integers(0, 4))
def test_every_entry_follows_the_definition(data, B, T, length):
    S = length + T
    window = data.draw(st.none() | st.integers(1, 7))
    start = data.draw(st.none() | st.lists(st.integers(0, S), min_size=B, max_size=B))
    rows = st.lists(st.lists(st.booleans(), min_size=S, max_size=S), min_size=B, max_size=B)
    valid = data.draw(st.none() | rows)
    numbers = st.lists(st.lists(st.integers(0, 2), min_size=S, max_size=S), min_size=B, max_size=B)
    document = data.draw(st.none() | numbers) if length == 0 else None
    mask = attention_mask(
        torch.arange(length, S),
        S,
        window=window,
        start_B=None if start is None else torch.tensor(start),
        key_valid_BS=None if valid is None else torch.tensor(valid),
        document_BT=None if document is None else torch.tensor(document),
    ).expand(B, T, S)
    for b in range(B):
        for t in range(T):
            for s in range(S):
                query = length + t
                seen = s <= query
                seen = seen and (window is None or query - s < window)
                seen = seen and (start is None or s >= start[b])
                seen = seen and (valid is None or valid[b][s])
                seen = seen and (document is None or document[b][s] == document[b][query])
                assert mask[b, t, s] == (seen or s == query)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), lengths=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_positions_count_from_each_documents_first_token(data, lengths):
    document = [number for number, n in enumerate(lengths) for _ in range(n)]
    valid = data.draw(st.none() | st.lists(st.booleans(), min_size=len(document), max_size=len(document)))
    positions = positions_within(
        torch.zeros(1, len(document), dtype=torch.long),
        torch.tensor([document]),
        None if valid is None else torch.tensor([valid]),
    )
    for t, number in enumerate(document):
        before = [s for s in range(t) if document[s] == number and (valid is None or valid[s])]
        assert positions[0, t] == len(before)
