"""What people are shown of a corpus."""

import numpy as np
import pytest

from trueformer.data.config import DataConfig
from trueformer.data.describe import counts, first_documents, named_corpora
from trueformer.data.shards import prepare
from trueformer.data.token_set import TokenSet


@pytest.fixture
def data(jsonl, tmp_path):
    return prepare(DataConfig(source=str(jsonl(range(40))), cache=str(tmp_path / "cache"), vocab_size=280))


def test_counts_are_those_of_the_token_sets(data):
    train, validation = counts(data)
    assert (train["split"], validation["split"]) == ("train", "validation")
    assert train["tokens"] == data.train.n_tokens
    assert validation["documents"] == data.validation.n_documents
    expected = data.train.n_bytes / (data.train.n_tokens - data.train.n_documents)
    assert train["bytes per token"] == pytest.approx(expected, abs=1e-3)
    assert train["unknown"] == 0


def test_first_documents_are_shown_token_by_token(data):
    shown = list(first_documents(data.train, data.tokenizer, count=3, longest=1000))
    assert [tokens[0] for tokens in shown] == ["<|bos|>"] * 3
    assert all("".join(tokens[1:]).startswith("story ") for tokens in shown)
    assert all(len(tokens) <= 5 for tokens in first_documents(data.train, data.tokenizer, count=3, longest=5))


def test_part_of_a_character_is_shown_as_bytes(data):
    ids = np.array(data.tokenizer.encode("𝄞", bos=True))
    tokens = TokenSet([ids], bos_id=data.tokenizer.bos_id, n_documents=1, n_bytes=4)
    (shown,) = first_documents(tokens, data.tokenizer, count=1)
    assert shown == ["<|bos|>", r"\xf0", r"\x9d", r"\x84", r"\x9e"]


def test_the_last_document_and_too_many_are_no_error(data):
    assert (
        len(list(first_documents(data.validation, data.tokenizer, count=10_000)))
        == data.validation.n_documents
    )


@pytest.mark.parametrize(("count", "longest"), [(0, 5), (5, 0), (-1, 1)])
def test_r14_numbers_below_one_are_refused(data, count, longest):
    with pytest.raises(ValueError, match=rf"count is {count} and longest is {longest}"):
        first_documents(data.train, data.tokenizer, count=count, longest=longest)


def test_named_corpora_are_listed():
    assert "shakespeare" in named_corpora()
