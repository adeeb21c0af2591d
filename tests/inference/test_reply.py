"""Replies: certain text, calls told from text, stop strings wherever they are cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.inference.engine.request import Event, Request, Token
from trueformer.inference.reply import Reply
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.chat_format import TOOL_TOKENS, tool_marks
from trueformer.tokenization.conversations import Text, ToolCall, ToolResult

TOKENIZER = train_bpe(["the quick brown fox"], 270).extended(TOOL_TOKENS)
MARKS = tool_marks(TOKENIZER)
REQUEST = Request(prompt=[1], max_new_tokens=1)


def told(reply: Reply, ids, *, forced=False) -> list:
    pieces = [reply.push(Event(REQUEST, token=Token(i, forced=forced))) for i in ids]
    return [piece for piece in pieces if piece is not None]


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(st.sampled_from("ab é東👩‍🚀\n"), max_size=20), stop=st.sampled_from(["", "ab", "東", "b "])
)
def test_the_pieces_joined_are_the_text_up_to_the_stop_string(text, stop):
    reply = Reply(TOKENIZER, stop=[stop] if stop else [])
    pieces = told(reply, TOKENIZER.encode(text))
    last = reply.push(Event(REQUEST, reason="length"))
    pieces += [] if last is None else [last]
    expected = text.split(stop)[0] if stop else text
    assert "".join(piece.text for piece in pieces) == expected == reply.text
    assert reply.stopped is bool(stop and stop in text)
    assert [piece.reason for piece in pieces if piece.reason] == ["stop" if reply.stopped else "length"]


def test_a_call_is_a_part_and_no_text():
    reply = Reply(TOKENIZER, marks=MARKS)
    pieces = told(reply, TOKENIZER.encode("So "))
    call = [MARKS.call_start, *TOKENIZER.encode("calculator 6*7"), MARKS.call_end]
    pieces += told(reply, call)
    pieces.append(reply.push(Event(REQUEST, part=ToolCall("calculator", "6*7"))))
    pieces.append(reply.push(Event(REQUEST, part=ToolResult("42"))))
    pieces += told(reply, [MARKS.output_start, *TOKENIZER.encode("42"), MARKS.output_end], forced=True)
    pieces += told(reply, TOKENIZER.encode("42."))
    assert "".join(piece.text for piece in pieces) == "So 42."
    assert reply.parts == [Text("So "), ToolCall("calculator", "6*7"), ToolResult("42"), Text("42.")]
    assert reply.n_tokens == len(TOKENIZER.encode("So ")) + len(call) + 2 + 2 + len(TOKENIZER.encode("42."))


def test_what_waited_for_a_stop_string_is_shown_before_a_call():
    reply = Reply(TOKENIZER, stop=["So long"], marks=MARKS)
    assert told(reply, TOKENIZER.encode("So")) == []
    told(reply, [MARKS.call_start, MARKS.call_end])
    piece = reply.push(Event(REQUEST, part=ToolCall("c", "")))
    assert (piece.text, piece.part) == ("So", ToolCall("c", ""))
    assert reply.parts == [Text("So"), ToolCall("c", "")]


def test_every_token_is_told_once_with_the_text_it_made():
    reply = Reply(TOKENIZER)
    ids = TOKENIZER.encode("é the")
    pieces = told(reply, ids)
    assert [token.id for piece in pieces for token in piece.tokens] == ids


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="stop string is empty"):
        Reply(TOKENIZER, stop=[""])
