"""A conversation from and to the messages of OpenAI's chat format, as files and HTTP requests hold them.

There a tool's call and its result are messages of their own; here they are parts of one message of the
assistant. So an assistant message with `tool_calls`, the messages of role `tool` that answer it and the
assistant message that follows become one. Content may also hold the two parts that OpenAI lacks:

    {"role": "assistant", "content": [
        {"type": "text", "text": "It is "},
        {"type": "tool_call", "name": "calculator", "input": "6*7"}, {"type": "tool_result", "text": "42"}]}

A tool here takes one text: the only string or number of the call's arguments, else the arguments as JSON.
Leaves out files (`jsonl.py`), images, audio, definitions of tools, and whatever else a message holds.

    from_openai([{"role": "user", "content": "Hello"}])  # Conversation.of(user("Hello"))
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trueformer.tokenization.conversations import (
    ROLES,
    Conversation,
    Message,
    Part,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

MOST_CALLS = 128  # of one message; a result is looked for among them
EXPECTED_ROLES = "one of system, developer, user, assistant, tool"
EXPECTED_CONTENT = "a string, or a list of parts such as {'type': 'text', 'text': '…'}"


def from_openai(messages: object) -> Conversation:
    """The conversation that `messages` stand for.

    Raises:
        ValueError: what cannot be read, by its place: "messages[2].role is 'robot': expected one of …".
    """
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"messages is {show(messages)}: expected a list of at least one message")
    turns = _Turns()
    for i, message in enumerate(messages):
        turns.add(message, f"messages[{i}]")
    return turns.conversation()


class _Turns:
    """Messages read so far; the calls of the last one may still wait for their results."""

    def __init__(self) -> None:
        self._done: list[Message] = []
        self._role: Role = "user"
        self._parts: list[Part] = []
        self._waiting: list[tuple[object, int]] = []  # the id of a call, and its place in the parts
        self._results: dict[int, ToolResult] = {}  # by the place of their call
        self._answered = False  # whether the message before was a tool's: the assistant then goes on
        self._at = ""

    def add(self, message: object, at: str) -> None:
        """Take the next message, found `at` this place."""
        if not isinstance(message, dict):
            raise ValueError(f"{at} is {show(message)}: expected an object with role and content")
        role = "system" if message.get("role") == "developer" else message.get("role")
        if role == "tool":
            return self._answer(message, at)
        if role not in ROLES:
            raise ValueError(f"{at}.role is {show(role)}: expected {EXPECTED_ROLES}")
        if self._waiting:
            raise ValueError(f"{at} follows a tool call without a result: expected a message of role 'tool'")
        if not (role == "assistant" and self._answered):
            self._finish()
            self._role, self._at = role, at
        self._answered = False
        self._parts += _content(message.get("content"), f"{at}.content")
        for identifier, call in _calls(message, at):
            self._waiting.append((identifier, len(self._parts)))
            self._parts.append(call)

    def _answer(self, message: dict[str, Any], at: str) -> None:
        identifier = message.get("tool_call_id")
        matching = [i for i, (name, _) in enumerate(self._waiting) if identifier in (None, name)]
        if not matching:
            raise ValueError(
                f"{at}.tool_call_id is {show(identifier)}: expected the id of a call before it that waits"
            )
        _, place = self._waiting.pop(matching[0])
        text = "".join(_words(part, at) for part in _content(message.get("content"), f"{at}.content"))
        self._results[place] = ToolResult(text)
        self._answered = True

    def _finish(self) -> None:
        if not self._at:
            return
        if self._role == "system" and self._done:
            raise ValueError(f"{self._at}.role is 'system': expected it in the first message, or in none")
        parts: list[Part] = []
        for place, part in enumerate(self._parts):
            parts += [part, self._results[place]] if place in self._results else [part]
        try:
            self._done.append(Message(self._role, tuple(_joined(parts))))
        except ValueError as error:
            raise ValueError(f"{self._at}: {error}") from error
        self._parts, self._results = [], {}

    def conversation(self) -> Conversation:
        """All of it. A call may wait at the very end: the tool has yet to be asked."""
        self._finish()
        return Conversation(tuple(self._done))


def _content(content: object, at: str) -> Iterator[Part]:
    if content is None:
        return
    if isinstance(content, str):
        yield Text(_text(content, at))
    elif isinstance(content, list):
        for i, part in enumerate(content):
            yield _part(part, f"{at}[{i}]")
    else:
        raise ValueError(f"{at} is {show(content)}: expected {EXPECTED_CONTENT}")


def _part(part: object, at: str) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or kind not in ("text", "tool_call", "tool_result"):
        raise ValueError(
            f"{at} is {show(part if kind is None else kind)}: expected a part of type text, tool_call or "
            "tool_result; images, audio and files cannot be read"
        )
    if kind == "tool_call":
        return _call(part.get("name"), _text(part.get("input"), f"{at}.input"), at)
    text = _text(part.get("text"), f"{at}.text")
    return Text(text) if kind == "text" else ToolResult(text)


def _calls(message: dict[str, Any], at: str) -> Iterator[tuple[object, ToolCall]]:
    """The calls with their ids; a file may do without ids, and then answers in order."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise ValueError(f"{at}.tool_calls is {show(calls)}: expected a list of calls")
    if len(calls) > MOST_CALLS:
        raise ValueError(f"{at}.tool_calls has {len(calls)} calls: expected at most {MOST_CALLS}")
    if calls and message["role"] != "assistant":
        raise ValueError(f"{at}.tool_calls is of the {message['role']}: expected calls of the assistant only")
    for i, call in enumerate(calls):
        place = f"{at}.tool_calls[{i}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise ValueError(f"{place} is {show(call)}: expected an object with id, type and function")
        given = _input(function.get("arguments"), f"{place}.function.arguments")
        yield call.get("id"), _call(function.get("name"), given, f"{place}.function")


def _call(name: object, given: str, at: str) -> ToolCall:
    name = _text(name, f"{at}.name")
    try:
        return ToolCall(name, given)
    except ValueError as error:
        raise ValueError(f"{at}.name: {error}") from error


def _input(arguments: object, at: str) -> str:
    """The one string or number that the arguments hold, else the arguments as they are written."""
    written = arguments if isinstance(arguments, str) else ""
    try:
        if arguments is not None and not isinstance(arguments, str):
            written = json.dumps(arguments, ensure_ascii=False)
        # Numbers stay as they are written: 0.10 is what the assistant wrote, and it may have any length.
        read = json.loads(written, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except ValueError:
        read = None  # the assistant wrote no JSON: the tool shall say what it makes of it
    except RecursionError as error:
        raise ValueError(f"{at} is nested too deeply: expected an object with one string") from error
    values = list(read.values()) if isinstance(read, dict) else []
    only = values[0] if len(values) == 1 and isinstance(values[0], str) else written
    return _text(str(only), at)


class _Number(str):
    """A number of JSON, as it is written."""

    __slots__ = ()


def _text(text: object, at: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{at} is {show(text)}: expected a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell halves of characters
        raise ValueError(f"{at} holds half of a surrogate pair: expected Unicode text") from error
    return text


def _words(part: Part, at: str) -> str:
    if not isinstance(part, Text):
        raise ValueError(f"{at}.content holds a tool's part: expected text in a message of role 'tool'")
    return part.text


def _joined(parts: list[Part]) -> Iterator[Part]:
    """The same with no two texts side by side and none empty: how a text was cut must not show in tokens."""
    text = ""
    for part in parts:
        if isinstance(part, Text):
            text += part.text
            continue
        if text:
            yield Text(text)
        text = ""
        yield part
    if text:
        yield Text(text)


def show(value: object) -> str:
    """A value from outside, short enough for a message."""
    kinds: dict[type, str] = {dict: "an object", list: "a list", type(None): "missing"}
    text = kinds.get(type(value)) or repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def to_openai(conversation: Conversation) -> list[dict[str, Any]]:
    """The messages that `from_openai` reads as `conversation`, but for texts side by side, which it joins.

    Calls are spelled as OpenAI does where that says the same, else as parts of our own.
    """
    messages: list[dict[str, Any]] = []
    for i, message in enumerate(conversation.messages):
        after = conversation.messages[i + 1 :]
        if not any(isinstance(part, ToolCall) for part in message.parts):
            messages.append({"role": message.role, "content": message.text})
        elif _fits(message.parts, after):
            _spell(message.parts, messages)
        else:
            messages.append({"role": message.role, "content": [_own(part) for part in message.parts]})
    return messages


def _fits(parts: tuple[Part, ...], after: tuple[Message, ...]) -> bool:
    """Whether OpenAI's format can say it: a result after each call, and words after the last result.

    A call may wait at the end of all; and results may end a message, unless the assistant's next message
    would be taken for the rest of this one.
    """
    results = [isinstance(part, ToolResult) for part in parts[1:]] + [False]
    waiting = [i for i, part in enumerate(parts) if isinstance(part, ToolCall) and not results[i]]
    if isinstance(parts[-1], ToolResult) and after and after[0].role == "assistant":
        return False
    return not waiting or (waiting == [len(parts) - 1] and not after)


def _spell(parts: tuple[Part, ...], messages: list[dict[str, Any]]) -> None:
    """Append one message of the assistant for each call, one of the tool for each result, and the end."""
    words = ""
    for part in parts:
        if isinstance(part, Text):
            words += part.text
        elif isinstance(part, ToolCall):
            function = {"name": part.name, "arguments": json.dumps({"input": part.input}, ensure_ascii=False)}
            call = {"id": f"call_{len(messages)}", "type": "function", "function": function}
            messages.append({"role": "assistant", "content": words or None, "tool_calls": [call]})
            words = ""
        else:
            identifier = messages[-1]["tool_calls"][0]["id"]
            messages.append({"role": "tool", "tool_call_id": identifier, "content": part.text})
    if words:
        messages.append({"role": "assistant", "content": words})


def _own(part: Part) -> Mapping[str, str]:
    if isinstance(part, ToolCall):
        return {"type": "tool_call", "name": part.name, "input": part.input}
    return {"type": "text" if isinstance(part, Text) else "tool_result", "text": part.text}
