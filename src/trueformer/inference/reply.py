"""From a request's events to what is shown of it: certain text, whole tool calls, results, and its end.

Text is shown only when it is certain: never half a character, never the beginning of a stop string, nothing
after one. What stands between a call's marks is a call and no text. Leaves out the engine, which must be told
to cancel a request whose reply was `stopped`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trueformer.inference.engine.request import Event, Reason, Token
from trueformer.inference.text import StopStrings
from trueformer.tokenization.chat_format import ToolMarks
from trueformer.tokenization.conversations import Part, Text, ToolCall, ToolResult
from trueformer.tokenization.protocol import Tokenizer
from trueformer.tokenization.stream import TextStream


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """More of a reply: text, the tokens since the piece before, a call or result, or why it ended."""

    text: str = ""
    tokens: tuple[Token, ...] = ()
    part: ToolCall | ToolResult | None = None
    reason: Reason | None = None


class Reply:
    """Takes a request's events in order; `parts` is the whole reply so far.

    `stop`: strings that end it, found wherever tokens happen to be cut. `marks`: those of tools, where calls
    are to be told from text.

    Raises:
        ValueError: a stop string is empty.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, stop: Sequence[str] = (), marks: ToolMarks | None = None
    ) -> None:
        self._stream, self._stops, self._marks = TextStream(tokenizer), StopStrings(stop), marks
        self._in_call = False
        self._tokens: list[Token] = []
        self.parts: list[Part] = []
        self.n_tokens = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found: the request has nothing more to say."""
        return self._stops.found

    @property
    def text(self) -> str:
        """The words so far, without calls and results."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    def push(self, event: Event) -> Piece | None:
        """What can be shown now, if anything; nothing once it has stopped."""
        if self.stopped:
            return None
        text = "" if event.token is None else self._text_of(event.token)
        reason = event.reason
        if reason is not None or event.part is not None:  # nothing more comes to what waits
            text += self._stops.push(self._stream.finish())
            text += "" if self.stopped else self._stops.finish()
        if self.stopped:
            reason = "stop"
        part = None if self.stopped else event.part
        if not text and part is None and reason is None:
            return None
        self._keep(text, part)
        tokens, self._tokens = tuple(self._tokens), []
        return Piece(text=text, tokens=tokens, part=part, reason=reason)

    def _text_of(self, token: Token) -> str:
        self.n_tokens += 1
        marks = self._marks
        if marks is not None and not token.forced:
            self._in_call = self._in_call or token.id == marks.call_start
            if self._in_call:
                self._in_call = token.id != marks.call_end
                return ""
        if token.forced:
            return ""
        self._tokens.append(token)
        return self._stops.push(self._stream.push(token.id))

    def _keep(self, text: str, part: Part | None) -> None:
        if text:
            before = self.parts[-1] if self.parts else None
            if isinstance(before, Text):
                self.parts[-1] = Text(before.text + text)
            else:
                self.parts.append(Text(text))
        if part is not None:
            self.parts.append(part)
