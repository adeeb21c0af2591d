"""Special tokens: made only on request, in front of single texts and lists alike."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.protocol import Tokenizer


def test_both_kinds_satisfy_the_protocol(tokenizer):
    assert isinstance(tokenizer, Tokenizer)


def test_n1_bos_is_prepended_to_one_text_and_to_each_of_a_list(tokenizer):
    one = tokenizer.encode("the dog", bos=True)
    assert one == [tokenizer.bos_id, *tokenizer.encode("the dog")]
    assert tokenizer.encode(["the dog", "", "x"], bos=True) == [
        one,
        [tokenizer.bos_id],
        [tokenizer.bos_id, *tokenizer.encode("x")],
    ]


def test_eos_is_appended_only_on_request(tokenizer):
    assert tokenizer.encode("a", eos=True) == [*tokenizer.encode("a"), tokenizer.eos_id]
    assert tokenizer.encode(["a"], bos=True, eos=True)[0][-1] == tokenizer.eos_id
    assert tokenizer.eos_id not in tokenizer.encode("a")


def test_special_text_of_a_user_never_becomes_a_special_id(tokenizer):
    for name in tokenizer.special_ids:
        for text in (name, f"x{name}y", f" {name}\n", name * 3):
            ids = tokenizer.encode(text)
            assert not set(ids) & {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id}
            assert tokenizer.encode([text]) == [ids]


@settings(deadline=None, max_examples=100)
@given(parts=st.lists(st.sampled_from(["<|bos|>", "<|", "|>", "eos", "<|eos|>", " ", "<|pad|>", "x"])))
def test_no_mixture_of_pieces_makes_a_special_id(bpe, parts):
    text = "".join(parts)
    assert not set(bpe.encode(text)) & set(bpe.special_ids.values())
    assert bpe.decode(bpe.encode(text)) == text


def test_special_text_becomes_the_special_id_when_allowed(tokenizer):
    name = "<|eos|>"
    expected = [*tokenizer.encode("a"), tokenizer.eos_id, *tokenizer.encode("b")]
    assert tokenizer.encode(f"a{name}b", allow_special=True) == expected
    assert tokenizer.encode([f"a{name}b"], allow_special=True) == [expected]
    assert tokenizer.encode(f"a{name}b") != expected  # allowing it once changes nothing afterwards


def test_specials_are_skipped_in_text_or_shown_by_name(tokenizer):
    ids = tokenizer.encode("dog", bos=True, eos=True)
    assert tokenizer.decode(ids) == "dog"
    assert tokenizer.decode(ids, skip_special=False) == "<|bos|>dog<|eos|>"
    assert tokenizer.token_bytes()[[tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id]].sum() == 0


def test_t17_the_character_tokenizer_has_its_specials_and_survives_unseen_characters():
    characters = train_characters(["abc\n"])
    assert characters.special_ids == {"<|bos|>": 0, "<|eos|>": 1, "<|pad|>": 2, "<|unk|>": 3}
    ids = characters.encode("aZb☃☃", bos=True)
    assert ids == [0, characters.encode("a")[0], 3, characters.encode("b")[0], 3, 3]
    assert characters.decode(ids) == "a\ufffdb\ufffd\ufffd"  # what was lost can be seen
    assert characters.token_bytes()[3] == 0


@pytest.mark.parametrize("token", [-1, 10**6])
def test_a12_ids_outside_the_vocabulary_are_refused(tokenizer, token):
    with pytest.raises(ValueError, match=rf"token id is {token}: expected 0 to {tokenizer.vocab_size - 1}"):
        tokenizer.decode([0, token])


@settings(deadline=None, max_examples=100)
@given(text=st.text())
def test_a12_ids_are_within_the_vocabulary_and_different_texts_get_different_ids(bpe, text):
    ids = bpe.encode(text)
    assert all(0 <= i < bpe.vocab_size for i in ids)
    assert bpe.encode(text + "x") != ids
