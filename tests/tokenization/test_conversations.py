"""Conversations refuse what no chat has."""

import pytest

from trueformer.tokenization.conversations import (
    Conversation,
    Message,
    ToolCall,
    ToolResult,
    assistant,
    system,
    user,
)


def test_a_conversation_holds_its_messages_and_their_words():
    said = Conversation.of(system("Be brief."), user("6 * 7?"), assistant("So ", ToolCall("c", "6*7"), "…"))
    assert [message.role for message in said.messages] == ["system", "user", "assistant"]
    assert said.messages[2].text == "So …"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: user(""), "is empty"),
        (lambda: assistant(), "is empty"),
        (lambda: Message("user", (ToolCall("c", "1"),)), "cannot use a tool"),
        (lambda: assistant(ToolResult("1")), "follows no call"),
        (lambda: assistant(ToolCall("c", "1"), "x", ToolResult("1")), "follows no call"),
        (lambda: ToolCall("two words", "1"), "without white space"),
        (lambda: Conversation.of(), "no messages"),
        (lambda: Conversation.of(user("a"), system("b")), "message 2 is of the system"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
