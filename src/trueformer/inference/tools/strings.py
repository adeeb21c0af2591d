"""Operations on the letters of a text, which a model sees only as tokens: spelling, counting, turning round.

    edit("count r strawberry")  →  "3"        edit("letters cat")  →  "c-a-t"

The first word is the operation, the rest its text. A character is a Unicode code point. Leaves out searching
with patterns, whose cost cannot be bounded.
"""

from collections.abc import Callable

from trueformer.inference.tools.tool import Tool, ToolError


def edit(request: str) -> str:
    """What an operation makes of a text; `request` names both.

    Raises:
        ToolError: an unknown operation, or one without its text.
    """
    name, _, text = request.strip().partition(" ")
    operation = OPERATIONS.get(name)
    if operation is None:
        raise ToolError(f"{name!r} is no operation: expected one of {', '.join(OPERATIONS)}, then a text")
    if not text:
        raise ToolError(f"{name} has no text: expected it after a space, e.g. {name} strawberry")
    return operation(text)


def count(text: str) -> str:
    """How often the first word is found in the rest, whatever the case: "count r Raspberry" gives 3."""
    wanted, _, rest = text.partition(" ")
    if not rest:
        raise ToolError("count has one word: expected what to count and then where, e.g. count r strawberry")
    return str(rest.lower().count(wanted.lower()))


OPERATIONS: dict[str, Callable[[str], str]] = {
    "count": count,
    "length": lambda text: str(len(text)),
    "letters": "-".join,
    "lower": str.lower,
    "reverse": lambda text: text[::-1],
    "upper": str.upper,
}

STRINGS = Tool(name="strings", about=f"{', '.join(OPERATIONS)} of a text, e.g. count r strawberry.", run=edit)
