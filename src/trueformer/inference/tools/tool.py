"""What a tool is: a name, what it is for, and a function from one text to one text.

A tool of one's own is a Python file that lists it under `TOOLS`:

    from trueformer.inference.tools import Tool, ToolError

    STOCK = {"apples": 3, "pears": 0}

    def stock(item: str) -> str:
        if item not in STOCK:
            raise ToolError(f"{item!r} is not sold: expected one of {', '.join(STOCK)}")
        return str(STOCK[item])

    TOOLS = [Tool(name="stock", about="How many of an item are left, e.g. apples.", run=stock)]

`ToolBox(["calculator", "stock.py"])` then offers it beside the calculator. Leaves out everything about
processes (`box.py`), and keeping state between calls: which worker answers, and for how long it lives, is
open.
"""

from collections.abc import Callable
from dataclasses import dataclass


class ToolError(ValueError):
    """What the model asked of a tool was wrong; the message is what the model reads, after "error: "."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """`run` makes one text of another; `about` says in a sentence what it makes of what.

    Raises:
        ValueError: the name is empty or holds white space: in a call, a space ends the name.
    """

    name: str
    about: str
    run: Callable[[str], str]

    def __post_init__(self) -> None:
        if not self.name or any(c.isspace() for c in self.name):
            raise ValueError(f"a tool is called {self.name!r}: expected a name without white space")
