"""Conversations as tokens, with a mask of those to be learned: what the assistant writes, and nothing else.

Two layouts are known token for token: our own, and ChatML as SmolLM2 has it. In both, a tool is called
between two tokens of its own, and its result stands between two others:

    <|bos|><|user_turn|>What is 6 * 7?<|end_of_turn|><|assistant_turn|>
    <|call_start|>calculator 6*7<|call_end|><|output_start|>42<|output_end|>It is 42.<|end_of_turn|>
    ----------------------------------------                                ------------------------

The underlined is trained on: words, calls and the end of the turn, but no result, which the program puts
there. Text that looks like a special token stays text. A chat model with another layout gets its prompts from
its Jinja template (`TemplateFormat`) and cannot be fine-tuned on conversations here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from trueformer.tokenization.chat_layout import CHATML, OURS, Layout, chatml_layout, jinja_template
from trueformer.tokenization.chat_template import render_chat
from trueformer.tokenization.conversations import (
    Conversation,
    Message,
    Part,
    Role,
    Text,
    ToolCall,
    ToolResult,
    system,
)
from trueformer.tokenization.protocol import Tokenizer

CALL_START, CALL_END = "<|call_start|>", "<|call_end|>"
OUTPUT_START, OUTPUT_END = "<|output_start|>", "<|output_end|>"
TOOL_TOKENS = (CALL_START, CALL_END, OUTPUT_START, OUTPUT_END)


class Rendered(NamedTuple):
    """Tokens of a conversation; `trained[i]` says whether token i is one to predict.

    `ends[i]` counts the tokens up to the end of message i: a conversation cut there is rendered as those.
    """

    ids: list[int]
    trained: list[bool]
    ends: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolMarks:
    """The ids around a call and around its result."""

    call_start: int
    call_end: int
    output_start: int
    output_end: int


@runtime_checkable
class ChatFormat(Protocol):
    """How a model was taught to converse."""

    tokenizer: Tokenizer
    tools: ToolMarks | None  # None: it knows no tools
    stop_ids: frozenset[int]  # any of them ends the assistant's turn

    def prompt(self, conversation: Conversation) -> list[int]:
        """Tokens up to where the assistant goes on."""
        ...


class MarkedFormat:
    """A chat format made of marks; renders conversations with their mask.

    Raises:
        ValueError: the tokenizer lacks a token the layout needs.
    """

    def __init__(self, tokenizer: Tokenizer, layout: Layout) -> None:
        missing = [name for name in layout.tokens if name not in tokenizer.special_ids]
        if missing:
            raise ValueError(
                f"the tokenizer has no {missing[0]}: expected the special tokens {', '.join(layout.tokens)}; "
                "add them, and rows of the embedding for them, as fine-tuning does"
            )
        self.tokenizer, self.layout = tokenizer, layout
        self._end = tokenizer.special_ids[layout.end]
        self.stop_ids = frozenset({self._end, tokenizer.eos_id, tokenizer.bos_id})
        self.tools = tool_marks(tokenizer)

    def render(self, conversation: Conversation) -> Rendered:
        """The whole conversation.

        Raises:
            ValueError: a tool is called and the tokenizer has no tokens for that.
        """
        rendered = Rendered([], [], [])
        if self.layout.start is not None:
            _add(rendered, [self.tokenizer.bos_id], trained=False)
        default = self.layout.default_system
        if default is not None and conversation.messages[0].role != "system":
            self._message(rendered, system(default))
        for message in conversation.messages:
            self._message(rendered, message)
            rendered.ends.append(len(rendered.ids))
        return rendered

    def prompt(self, conversation: Conversation) -> list[int]:
        """Tokens up to where the assistant goes on: with a new message, or behind a tool's result.

        Errors as for `render`.
        """
        ids, last = self.render(conversation).ids, conversation.messages[-1]
        if isinstance(last.parts[-1], ToolResult):
            return ids[: -1 - len(self.tokenizer.encode(self.layout.after))]
        return ids + self._opening("assistant")

    def _opening(self, role: Role, text: str = "") -> list[int]:
        # The heading and what follows are one text: a template's text is cut into tokens as a whole, and line
        # breaks at the start of a message would join the one before them.
        text = self.layout.heading[role] + text
        return [self.tokenizer.special_ids[self.layout.role_token[role]], *self.tokenizer.encode(text)]

    def _message(self, rendered: Rendered, message: Message) -> None:
        writes = message.role == "assistant"
        if writes:  # its words come after a prompt, so they are cut into tokens by themselves
            _add(rendered, self._opening("assistant"), trained=False)
            for part in message.parts:
                self._part(rendered, part)
        else:
            _add(rendered, self._opening(message.role, message.text), trained=False)
        _add(rendered, [self._end], trained=writes)
        _add(rendered, self.tokenizer.encode(self.layout.after), trained=False)

    def _part(self, rendered: Rendered, part: Part) -> None:
        if isinstance(part, Text):
            _add(rendered, self.tokenizer.encode(part.text), trained=True)
            return
        if self.tools is None:
            raise ValueError(
                f"the conversation uses a tool and the model has no {CALL_START} token: "
                "fine-tune it on conversations with tools, or leave them out"
            )
        if isinstance(part, ToolCall):
            inside = self.tokenizer.encode(f"{part.name} {part.input}")
            _add(rendered, [self.tools.call_start, *inside, self.tools.call_end], trained=True)
        else:
            _add(rendered, result_ids(self.tokenizer, self.tools, part.text), trained=False)

    @property
    def template(self) -> str:
        """The same layout as a Jinja template, for other programs that read the tokenizer."""
        return jinja_template(self.layout)


class TemplateFormat:
    """A stranger's chat format: prompts by the Jinja template that came with the model."""

    tools = None

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self.tokenizer, self.template = tokenizer, template
        self.stop_ids = frozenset({tokenizer.eos_id, tokenizer.bos_id})
        names = {i: name for name, i in tokenizer.special_ids.items()}
        self._bos, self._eos = names.get(tokenizer.bos_id, ""), names.get(tokenizer.eos_id, "")

    def prompt(self, conversation: Conversation) -> list[int]:
        """Tokens up to where the assistant's next message begins.

        Raises:
            ValueError: the template refuses the messages, a tool is used, or a message holds the text of a
                special token, which the template would let end it and speak for others.
        """
        messages = [{"role": m.role, "content": self._plain(m)} for m in conversation.messages]
        text = render_chat(self.template, messages, bos=self._bos, eos=self._eos)
        return self.tokenizer.encode(text, allow_special=True)

    def _plain(self, message: Message) -> str:
        if any(not isinstance(part, Text) for part in message.parts):
            raise ValueError(
                "the conversation uses a tool, and this model's template knows none: leave it out"
            )
        special = [name for name in self.tokenizer.special_ids if name in message.text]
        if special:
            raise ValueError(
                f"a message holds {special[0]!r}, which would end it and speak for others: remove it"
            )
        return message.text


def chat_format(tokenizer: Tokenizer, template: str | None) -> MarkedFormat | TemplateFormat | None:
    """The format of a model, by the tokens it has and the template it came with; None: it knows no chat."""
    if set(OURS.tokens) <= set(tokenizer.special_ids):
        return MarkedFormat(tokenizer, OURS)
    if template is None:
        return None
    layout = chatml_layout(template) if set(CHATML.tokens) <= set(tokenizer.special_ids) else None
    return TemplateFormat(tokenizer, template) if layout is None else MarkedFormat(tokenizer, layout)


def tool_marks(tokenizer: Tokenizer) -> ToolMarks | None:
    """The ids of the tool tokens; None where the tokenizer lacks one."""
    found = [tokenizer.special_ids.get(name) for name in TOOL_TOKENS]
    call_start, call_end, output_start, output_end = found
    if call_start is None or call_end is None or output_start is None or output_end is None:
        return None
    return ToolMarks(
        call_start=call_start, call_end=call_end, output_start=output_start, output_end=output_end
    )


def result_ids(tokenizer: Tokenizer, marks: ToolMarks, text: str) -> list[int]:
    """What stands after a call: the opening mark, the result, the closing mark, in this order."""
    return [marks.output_start, *tokenizer.encode(text), marks.output_end]


def _add(rendered: Rendered, ids: Sequence[int], *, trained: bool) -> None:
    rendered.ids.extend(ids)
    rendered.trained.extend([trained] * len(ids))
