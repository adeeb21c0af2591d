"""Text to ids and back changes nothing."""

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.tokenization.bpe import SPLIT, train_bpe
from trueformer.tokenization.characters import train_characters

EDGES = [
    "",
    " ",
    "   \t \n",
    "\r\n",
    "\r\n\r\n  x \r",
    "e\u0301 \u00e9",  # combining and composed stay apart: nothing is normalised
    "\ufb01\u212b\u1e9b\u0323",  # ligature, ångström sign: NFKC and NFC would change these
    "\x00\x01\x7f\u0085\u2028\ufeff",
    "👩‍🚀🏳️‍🌈",
    "\U0010ffff\ufffd",
    "Ġ Ċ ĉ",  # the letters byte-level BPE spells spaces and newlines with
    "<|bos|><|eos|><|pad|><|unk|>",
    "a" * 5000,
    " " * 5000,
]


@pytest.mark.parametrize("text", EDGES)
def test_bpe_returns_edge_cases_unchanged(bpe, text):
    assert bpe.decode(bpe.encode(text)) == text
    assert bpe.decode(bpe.encode(text, bos=True, eos=True)) == text


@settings(deadline=None, max_examples=300)
@given(text=st.text())
def test_bpe_returns_every_unicode_string_unchanged(bpe, text):
    assert bpe.decode(bpe.encode(text)) == text
    assert bpe.encode([text, "x", text])[2] == bpe.encode(text)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_characters_return_every_string_of_their_alphabet(characters, texts, data):
    alphabet = sorted(set("".join(texts)))
    text = data.draw(st.text(st.sampled_from(alphabet)))
    ids = characters.encode(text)
    assert characters.decode(ids) == text
    assert len(ids) == len(text)


@settings(deadline=None, max_examples=100)
@given(text=st.text())
def test_token_bytes_add_up_to_the_bytes_of_the_text(bpe, text):
    ids = bpe.encode(text, bos=True, eos=True)
    assert bpe.token_bytes()[ids].sum() == len(text.encode())
    assert len(bpe.token_bytes()) == bpe.vocab_size


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_decoding_equals_the_library_s(bpe, data):
    ids = data.draw(st.lists(st.integers(0, bpe.vocab_size - 1)))
    assert bpe.decode(ids) == bpe.library.decode(ids, skip_special_tokens=True)
    assert bpe.decode(ids, skip_special=False) == bpe.library.decode(ids, skip_special_tokens=False)


@settings(deadline=None, max_examples=100)
@given(text=st.text())
def test_the_split_pattern_loses_no_character(text):
    assert "".join(match[0] for match in regex.finditer(SPLIT, text)) == text


def test_split_keeps_words_numbers_and_line_breaks_apart():
    pieces = [match[0] for match in regex.finditer(SPLIT, "He's got 12345 apples!\n\n  Yes")]
    assert pieces == ["He", "'s", " got", " ", "123", "45", " apples", "!\n\n", " ", " Yes"]


@pytest.mark.parametrize("text", ["\ud800", "ok \udfff", "a\ud83d"])
def test_lone_surrogates_are_refused_by_value(tokenizer, text):
    with pytest.raises(ValueError, match=r"lone surrogate.*character \d"):
        tokenizer.encode(text)
    with pytest.raises(ValueError, match="lone surrogate"):
        tokenizer.encode(["fine", text])


def test_lone_surrogates_are_refused_in_training():
    for train in (lambda texts: train_bpe(texts, 300), train_characters):
        with pytest.raises(ValueError, match="lone surrogate"):
            train(["fine", "\ud800"])


def test_r19_empty_inputs_give_empty_outputs(tokenizer):
    assert tokenizer.encode("") == []
    assert tokenizer.encode([]) == []
    assert tokenizer.encode([""]) == [[]]
    assert tokenizer.decode([]) == ""
    assert tokenizer.encode("", bos=True, eos=True) == [tokenizer.bos_id, tokenizer.eos_id]


def test_training_twice_gives_the_same_tokenizer(texts, bpe, characters):
    assert train_bpe(texts, 400).fingerprint == bpe.fingerprint
    assert train_characters(reversed(texts)).fingerprint == characters.fingerprint
    assert train_bpe(texts, 380).fingerprint != bpe.fingerprint


def test_bpe_has_the_size_asked_for_and_merges(bpe, texts):
    assert bpe.vocab_size == 400
    assert len(bpe.encode(texts[0])) < len(texts[0].encode()) * 0.6


@pytest.mark.parametrize("size", [-1, 0, 258])
def test_r14_a_vocabulary_too_small_for_the_bytes_is_refused(size):
    with pytest.raises(ValueError, match=rf"vocab_size is {size}: expected at least 259"):
        train_bpe(["text"], size)


def test_bpe_of_no_text_still_knows_every_byte():
    empty = train_bpe([], 300)
    assert empty.vocab_size == 259
    assert empty.decode(empty.encode("héllo\n")) == "héllo\n"
