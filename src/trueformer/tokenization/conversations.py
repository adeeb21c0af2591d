"""A conversation as data: messages of a system, a user and an assistant, made of text and tool calls.

A tool is called in the middle of the assistant's message: its call is what the assistant writes, its result
is what the program puts after it, and the message goes on. Leaves out tokens (`chat_format.py`) and files.

    Conversation.of(user("6 * 7?"), assistant(ToolCall("calculator", "6*7"), ToolResult("42"), "It is 42."))
"""

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Text:
    """What is said in words."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The assistant asks a tool, by its name, for what it makes of `input`."""

    name: str
    input: str

    def __post_init__(self) -> None:
        if not self.name or any(c.isspace() for c in self.name):
            raise ValueError(f"a tool is called {self.name!r}: expected a name without white space")


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the tool answered; the program writes it, never the assistant."""

    text: str


Part = Text | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Raises:
        ValueError: nothing said, tools in another turn than the assistant's, or a result
            that does not follow a call.
    """

    role: Role
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not any(not isinstance(part, Text) or part.text for part in self.parts):
            raise ValueError(f"a message of the {self.role} is empty: expected text, or leave it out")
        before: Part | None = None
        for part in self.parts:
            if self.role != "assistant" and not isinstance(part, Text):
                raise ValueError(f"the {self.role} cannot use a tool: expected text; only the assistant can")
            if isinstance(part, ToolResult) and not isinstance(before, ToolCall):
                raise ValueError(
                    f"the tool result {part.text!r} follows no call: expected one right before it"
                )
            before = part

    @property
    def text(self) -> str:
        """What is said in words, without calls and results."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order.

    Raises:
        ValueError: there is none, or a system message elsewhere than in front.
    """

    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError("a conversation has no messages: expected at least one")
        late = [i for i, message in enumerate(self.messages) if i and message.role == "system"]
        if late:
            raise ValueError(
                f"message {late[0] + 1} is of the system: expected it to be the first, or absent"
            )

    @classmethod
    def of(cls, *messages: Message) -> "Conversation":
        """A conversation of these messages."""
        return cls(messages)


def system(text: str) -> Message:
    """How the assistant is to behave."""
    return Message("system", (Text(text),))


def user(text: str) -> Message:
    """What the user says."""
    return Message("user", (Text(text),))


def assistant(*parts: str | Part) -> Message:
    """What the assistant says and does; strings are its words."""
    return Message("assistant", tuple(Text(part) if isinstance(part, str) else part for part in parts))
