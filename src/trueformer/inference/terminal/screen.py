"""What is seen. On a terminal: replies as they come, tools and notes dim; through a pipe: replies alone.

Nothing that a model, a tool or a file says can steer the terminal: control characters are shown as �. Leaves
out input.
"""

import sys

from rich.console import Console

from trueformer.inference.reply import Piece
from trueformer.tokenization.conversations import ToolCall, ToolResult

LONGEST = 200  # characters shown of a tool's input or result
# Escape sequences begin with a C0 or C1 control; the others turn the direction of writing, so that text looks
# like another. Carriage returns are dropped: they end lines of Windows, and overwrite others.
_CONTROLS = {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)} - {9, 10}
_CLEAN = dict.fromkeys(_CONTROLS, "�") | {13: None}


def clean(text: str) -> str:
    """The text without what could steer a terminal. Example: "\\x1b[31mred" is "�[31mred"."""
    return text.translate(_CLEAN)


class Screen:
    """Prints; `interactive`: for a person at a terminal, else for a program that reads the replies."""

    def __init__(self, *, interactive: bool) -> None:
        self.interactive = interactive
        self._out = Console(file=sys.stdout, highlight=False)
        self._notes = self._out if interactive else Console(file=sys.stderr, highlight=False)
        self._at_start = True  # of a line

    def reply(self, piece: Piece) -> None:
        """More of a reply."""
        self._write(self._out, piece.text)
        if not self.interactive:
            return
        if isinstance(piece.part, ToolCall):
            self.fresh_line()
            self._write(self._out, f"⚙ {_short(piece.part.name)} {_short(piece.part.input)}", "dim")
        elif isinstance(piece.part, ToolResult):
            self._write(self._out, f" → {_short(piece.part.text)}\n", "dim")

    def end_reply(self, status: str, problem: str = "") -> None:
        """A reply's last line break, then how it went."""
        self.fresh_line()
        if self.interactive:
            self.note(status)
        if problem:
            self.error(problem)
        if self.interactive:
            self._write(self._out, "\n")

    def note(self, text: str) -> None:
        """What the program says."""
        self._write(self._notes, f"{text}\n", "dim")

    def error(self, text: str) -> None:
        """What the user is to mend."""
        self._write(self._notes, f"{text}\n", "yellow")

    def fresh_line(self) -> None:
        """Go to the start of a line, unless there already."""
        if not self._at_start:
            self._write(self._out, "\n")

    def new_line(self) -> None:
        """End a line on which the terminal itself has put something, such as ^C."""
        self._at_start = True
        self._write(self._out, "\n")

    def _write(self, console: Console, text: str, style: str | None = None) -> None:
        if not text:
            return
        console.out(clean(text), style=style, end="", highlight=False)
        if console is self._out:
            self._at_start = text.endswith("\n")


def _short(text: str) -> str:
    """In one line, of a length that is read at a glance."""
    text = text.replace("\n", " ⏎ ")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
