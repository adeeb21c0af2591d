"""No document on both sides, whatever the order and the copies."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.data.split import hash_document, split_by_hash, split_by_source


def sides(documents, fraction):
    split = split_by_hash(lambda: iter(documents), fraction)
    return list(split.train()), list(split.validation())


@settings(deadline=None, max_examples=200)
@given(
    documents=st.lists(st.text(max_size=3), min_size=2).filter(lambda d: len(set(d)) > 1),
    fraction=st.floats(0.001, 0.999),
)
def test_sides_are_disjoint_complete_and_never_empty(documents, fraction):
    train, validation = sides(documents, fraction)
    assert train
    assert validation
    assert not set(train) & set(validation)
    assert sorted(train + validation) == sorted(documents)


def test_a_document_keeps_its_side_in_any_order_and_company(story):
    documents = [story(n) for n in range(200)]
    train, validation = sides(documents, 0.2)
    again_train, again_validation = sides([*reversed(documents), *(story(n) for n in range(200, 300))], 0.2)
    assert set(train) <= set(again_train)
    assert set(validation) <= set(again_validation)


def test_the_share_held_out_is_about_the_share_asked_for(story):
    _, validation = sides([story(n) for n in range(2000)], 0.1)
    assert 150 < len(validation) < 250  # 200 expected, standard deviation 13


def test_the_hash_is_the_same_everywhere():
    assert [hash_document(""), hash_document("a")] == [0xB4B2797457A0A6E4, 0x2F42665B399EF840]


@pytest.mark.parametrize("documents", [[], ["one"], ["one", "one", "one"]])
def test_r4_fewer_than_two_different_documents_cannot_be_split(documents):
    with pytest.raises(
        ValueError, match=rf"has {len(set(documents))} different documents: expected at least 2"
    ):
        sides(documents, 0.1)


def test_a_validation_source_takes_its_documents_out_of_training():
    split = split_by_source(lambda: iter(["a", "b", "c", "b"]), lambda: iter(["b", "d", "d"]))
    assert list(split.train()) == ["a", "c"]
    assert list(split.validation()) == ["b", "d", "d"]


@pytest.mark.parametrize(
    ("train", "validation", "side"),
    [(["a"], [], "validation"), (["a"], ["a"], "training"), ([], ["a"], "training")],
)
def test_r4_an_empty_side_is_an_error(train, validation, side):
    with pytest.raises(ValueError, match=f"the {side} source has no document of its own"):
        split_by_source(lambda: iter(train), lambda: iter(validation))
