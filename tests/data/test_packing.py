"""Best fit: nothing cut or lost, rows as full as those of a search written out."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.data.packing import best_fit

some_lengths = st.lists(st.integers(1, 20), max_size=60)


def searched(lengths, capacity):
    """Best fit decreasing by looking at every row: how full its rows are."""
    full: list[int] = []
    for length in sorted(lengths, reverse=True):
        fits = [i for i, used in enumerate(full) if used + length <= capacity]
        if fits:
            full[max(fits, key=lambda i: full[i])] += length
        else:
            full.append(length)
    return sorted(full)


@settings(max_examples=200, deadline=None)
@given(lengths=some_lengths)
def test_everything_is_in_one_row_and_no_row_is_too_full(lengths):
    rows = best_fit(lengths, 20)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    full = [sum(lengths[i] for i in row) for row in rows]
    assert all(used <= 20 for used in full)
    assert sorted(full) == searched(lengths, 20)


@settings(max_examples=50, deadline=None)
@given(lengths=some_lengths, seed=st.integers(0, 1000))
def test_how_full_rows_are_depends_on_the_lengths_and_not_on_their_order(lengths, seed):
    shuffled = random.Random(seed).sample(lengths, len(lengths))
    sizes = [sorted(sum(x[i] for i in row) for row in best_fit(x, 20)) for x in (lengths, shuffled)]
    assert sizes[0] == sizes[1]


def test_the_example_of_the_docstring():
    assert best_fit([3, 5, 2, 4], 7) == [[1, 2], [3, 0]]


@pytest.mark.parametrize("length", [0, 8])
def test_what_fits_in_no_row_is_refused(length):
    with pytest.raises(ValueError, match="expected 1 to 7"):
        best_fit([length], 7)
