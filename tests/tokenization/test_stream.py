"""Streaming: the pieces add up to the text, and no piece is half a character."""

from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.tokenization.stream import TextStream


@settings(deadline=None, max_examples=200)
@given(text=st.text())
def test_pieces_are_whole_characters_and_add_up_to_the_text(bpe, text):
    stream = TextStream(bpe)
    pieces = [stream.push(i) for i in bpe.encode(text, bos=True)]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces) or "\ufffd" in text
    assert stream.finish() == ""


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_ids_stream_to_what_they_decode_to(bpe, data):
    ids = data.draw(st.lists(st.integers(0, bpe.vocab_size - 1)))
    skip = data.draw(st.booleans())
    stream = TextStream(bpe, skip_special=skip)
    assert "".join(stream.push(i) for i in ids) + stream.finish() == bpe.decode(ids, skip_special=skip)


def test_a_character_of_four_tokens_comes_at_once(bpe):
    ids = bpe.encode("𝄞")  # a clef: unseen in training, so four tokens
    assert len(ids) == 4
    stream = TextStream(bpe)
    assert [stream.push(i) for i in ids] == ["", "", "", "𝄞"]


def test_an_unfinished_character_ends_as_a_replacement_and_the_stream_is_fresh(bpe):
    stream = TextStream(bpe)
    assert stream.push(bpe.encode("𝄞")[0]) == ""
    assert stream.finish() == "\ufffd"
    assert stream.push(bpe.encode("a")[0]) == "a"


def test_characters_stream_one_at_a_time(characters):
    stream = TextStream(characters)
    assert [stream.push(i) for i in characters.encode("東京", bos=True)] == ["", "東", "京"]
