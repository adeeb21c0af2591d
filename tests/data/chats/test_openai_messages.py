"""OpenAI's messages to a conversation and back: tools, roles, and what is refused with its place."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.data.chats.openai_messages import from_openai, to_openai
from trueformer.tokenization.conversations import (
    Conversation,
    Message,
    Part,
    Role,
    Text,
    ToolCall,
    ToolResult,
    assistant,
    system,
    user,
)

PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
CALLS = st.builds(ToolCall, st.sampled_from(["calculator", "f"]), PLAIN | st.just('{"input": 1}'))
USES = st.tuples(CALLS, st.builds(ToolResult, PLAIN)) | st.tuples(CALLS)
SAID = st.builds(Text, WORDS)


@st.composite
def replies(draw: st.DrawFn) -> list[Part]:
    """What the assistant says and does, no two texts side by side; calls may go without results."""
    parts: list[Part] = []
    for use in draw(st.lists(USES, max_size=3)):
        parts += [draw(SAID)] if draw(st.booleans()) else []
        parts += use
    if not parts or draw(st.booleans()):
        parts.append(draw(SAID))
    return parts


TURNS = st.lists(
    st.tuples(st.just("user"), st.lists(SAID, min_size=1, max_size=1))
    | st.tuples(st.just("assistant"), replies()),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=500)
@given(st.none() | WORDS, TURNS)
def test_a_conversation_survives_the_way_to_openai_and_back(
    instruction: str | None, turns: list[tuple[Role, list[Part]]]
) -> None:
    first = [] if instruction is None else [system(instruction)]
    conversation = Conversation((*first, *(Message(role, tuple(parts)) for role, parts in turns)))
    messages = json.loads(json.dumps(to_openai(conversation)))
    assert from_openai(messages) == conversation


@settings(deadline=None, max_examples=200)
@given(st.lists(PLAIN, max_size=6))
def test_how_a_text_is_cut_leaves_no_trace(pieces: list[str]) -> None:
    parts, whole = [{"type": "text", "text": text} for text in pieces], "".join(pieces)
    if not whole:
        with pytest.raises(ValueError, match=r"messages\[0\]: a message of the user is empty"):
            from_openai([{"role": "user", "content": parts}])
    else:
        assert from_openai([{"role": "user", "content": parts}]) == Conversation.of(user(whole))


def test_a_regular_use_of_a_tool_is_spelled_as_openai_spells_it() -> None:
    call, result = ToolCall("calculator", "6*7"), ToolResult("42")
    assert to_openai(Conversation.of(user("6*7?"), assistant("It is ", call, result, "42."))) == [
        {"role": "user", "content": "6*7?"},
        {
            "role": "assistant",
            "content": "It is ",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "calculator", "arguments": '{"input": "6*7"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        {"role": "assistant", "content": "42."},
    ]


def call(identifier: str | None, arguments: object, name: object = "f") -> dict[str, object]:
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def asked(*calls: object, content: object = None) -> dict[str, object]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def told(identifier: str | None, text: object) -> dict[str, object]:
    return {"role": "tool", "tool_call_id": identifier, "content": text}


ASK = {"role": "user", "content": "?"}


def test_n12_results_stand_behind_their_own_calls_whatever_order_they_come_in() -> None:
    calls = asked(call("a", '{"x": "1"}'), call("b", '{"x": "2"}'), content="Well, ")
    done = {"role": "assistant", "content": "so."}
    by_id = from_openai([ASK, calls, told("b", "two"), told("a", "one"), done])
    assert by_id == Conversation.of(
        user("?"),
        assistant(
            "Well, ", ToolCall("f", "1"), ToolResult("one"), ToolCall("f", "2"), ToolResult("two"), "so."
        ),
    )
    calls = asked(call(None, '{"x": "1"}'), call(None, '{"x": "2"}'), content="Well, ")
    assert from_openai([ASK, calls, told(None, "one"), told(None, "two"), done]) == by_id


def test_equal_calls_have_a_result_each() -> None:
    calls = asked(call("a", "same"), call("b", "same"))
    (_, reply) = from_openai([ASK, calls, told("b", "2"), told("a", "1")]).messages
    assert [part.text for part in reply.parts if isinstance(part, ToolResult)] == ["1", "2"]


def test_calls_may_follow_one_another_in_one_message_for_long() -> None:
    chain = [m for i in range(1000) for m in (asked(call("a", str(i))), told("a", str(i)))]
    (_, reply) = from_openai([ASK, *chain]).messages
    assert reply.parts[:2] == (ToolCall("f", "0"), ToolResult("0"))
    assert reply.parts[-2:] == (ToolCall("f", "999"), ToolResult("999"))


def test_a_call_may_wait_at_the_end_only() -> None:
    (_, reply) = from_openai([ASK, asked(call("a", "{}"))]).messages
    assert reply.parts == (ToolCall("f", "{}"),)
    with pytest.raises(ValueError, match=r"messages\[2\] follows a tool call without a result"):
        from_openai([ASK, asked(call("a", "{}")), ASK])
    with pytest.raises(ValueError, match=r"messages\[3\] follows a tool call without a result"):
        from_openai([ASK, asked(call("a", "{}"), call("b", "{}")), told("a", ""), asked(content="so")])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input": "6*7"}', "6*7"),
        ('{"expression": "6*7"}', "6*7"),
        ({"expression": "6*7"}, "6*7"),
        ('{"n": 0.10}', "0.10"),
        ('{"n": ' + "9" * 5000 + "}", "9" * 5000),
        ({"n": 7}, "7"),
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 2}'),
        ({"a": [1, "é"]}, '{"a": [1, "é"]}'),
        ('{"a": true}', '{"a": true}'),
        ("[1]", "[1]"),
        ("6*7", "6*7"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_tool_gets_the_one_text_of_its_arguments_or_all_of_them(arguments: object, text: str) -> None:
    (_, reply) = from_openai([ASK, asked(call("a", arguments))]).messages
    assert reply.parts == (ToolCall("f", text),)


def test_the_developer_is_the_system() -> None:
    read = from_openai([{"role": "developer", "content": "Be brief."}, ASK])
    assert read == Conversation.of(system("Be brief."), user("?"))


def test_what_clients_send_along_is_ignored() -> None:
    echoed = {"role": "assistant", "content": "Hi", "refusal": None, "tool_calls": None, "annotations": []}
    assert from_openai([ASK, echoed]) == Conversation.of(user("?"), assistant("Hi"))


DEEP = "[" * 100_000
NESTED: list[object] = []
for _ in range(100_000):
    NESTED = [NESTED]
REFUSED = {
    "no list": ({"role": "user"}, r"messages is an object: expected a list"),
    "nothing": ([], r"messages is a list: expected a list of at least one message"),
    "no object": (["hello"], r"messages\[0\] is 'hello': expected an object with role and content"),
    "robot": ([ASK, ASK, {"role": "robot", "content": "x"}], r"messages\[2\].role is 'robot': expected one"),
    "no role": ([{"content": "x"}], r"messages\[0\].role is missing: expected one of system"),
    "odd role": ([{"role": ["user"], "content": "x"}], r"messages\[0\].role is a list"),
    "empty": ([ASK, {"role": "user", "content": ""}], r"messages\[1\]: a message of the user is empty"),
    "no content": ([{"role": "assistant"}], r"messages\[0\]: a message of the assistant is empty"),
    "number": ([{"role": "user", "content": 5}], r"messages\[0\].content is 5: expected a string, or a list"),
    "late system": ([ASK, {"role": "system", "content": "x"}], r"messages\[1\].role is 'system': expected"),
    "image": (
        [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url"}]}],
        r"messages\[0\].content\[1\] is 'image_url': expected .*images, audio and files cannot be read",
    ),
    "text in a list": ([{"role": "user", "content": ["x"]}], r"messages\[0\].content\[0\] is 'x'"),
    "text that is none": (
        [{"role": "user", "content": [{"type": "text", "text": 5}]}],
        r"messages\[0\].content\[0\].text is 5: expected a string",
    ),
    "half a character": ([{"role": "user", "content": "\ud800"}], r"messages\[0\].content holds half of a"),
    "user with tools": (
        [{**asked(call("a", "")), "role": "user"}],
        r"messages\[0\].tool_calls is of the user",
    ),
    "user with parts": (
        [{"role": "user", "content": [{"type": "tool_call", "name": "f", "input": ""}]}],
        r"messages\[0\]: the user cannot use a tool",
    ),
    "result first": (
        [{"role": "assistant", "content": [{"type": "tool_result", "text": "42"}]}],
        r"messages\[0\]: the tool result '42' follows no call",
    ),
    "stray tool": ([ASK, told("a", "x")], r"messages\[1\].tool_call_id is 'a': expected the id of a call"),
    "wrong id": ([ASK, asked(call("a", "")), told("b", "x")], r"messages\[2\].tool_call_id is 'b'"),
    "twice": (
        [ASK, asked(call("a", "")), told("a", ""), told("a", "")],
        r"messages\[3\].tool_call_id is 'a'",
    ),
    "calls": (
        [{"role": "assistant", "tool_calls": "f"}],
        r"messages\[0\].tool_calls is 'f': expected a list",
    ),
    "many calls": (
        [asked(*[call("a", "")] * 129)],
        r"messages\[0\].tool_calls has 129 calls: expected at most",
    ),
    "call": ([asked("f")], r"messages\[0\].tool_calls\[0\] is 'f': expected an object with id"),
    "name": (
        [asked(call("a", "", name=None))],
        r"tool_calls\[0\].function.name is missing: expected a string",
    ),
    "spaces": ([asked(call("a", "", name="a b"))], r"function.name: a tool is called 'a b': expected a name"),
    "deep": ([asked(call("a", DEEP))], r"function.arguments is nested too deeply"),
    "nested": ([asked(call("a", NESTED))], r"function.arguments is nested too deeply"),
    "long": ([{"role": "x" * 10_000, "content": "x"}], r"messages\[0\].role is 'x{56}…: expected one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(name: str) -> None:
    messages, said = REFUSED[name]
    with pytest.raises(ValueError, match=said):
        from_openai(messages)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "tool_calls", "function", "name", "id"])
            | st.sampled_from(["arguments", "tool_call_id", "input"]),
            inner | st.sampled_from(["user", "assistant", "tool", "text", "tool_call", "tool_result"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=500)
@given(st.lists(ANYTHING, max_size=4) | ANYTHING)
def test_anything_is_read_or_refused_as_a_mistake_of_the_sender(messages: object) -> None:
    try:
        read = from_openai(messages)
    except ValueError:
        return  # any other error would be ours
    assert from_openai(to_openai(read)) == read
