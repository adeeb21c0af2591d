"""Inline exceptions: `# trueformer: ignore[source/unsafe-load] the file is our own`.

The comment stands on a line of what is reported, or alone on the line above it.
"""

import ast
import re
import tokenize
from collections.abc import Iterator
from io import StringIO

from trueformer.doctor.lint.reading import Reading
from trueformer.doctor.lint.rule import RULES, Found, rule

MARK = "trueformer:"
IGNORE = re.compile(r"#\s*trueformer:\s*ignore\b(?:\[([^\]]*)\])?")


def _comments(text: str) -> Iterator[tuple[int, int, bool, str]]:
    """Line, column, whether it stands alone, and the text of each comment that speaks to us."""
    if MARK not in text:
        return
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type == tokenize.COMMENT and IGNORE.search(token.string):
            line, column = token.start
            yield line, column, not token.line[:column].strip(), token.string


def _ids(comment: str) -> list[str]:
    found = IGNORE.search(comment)
    return [id.strip() for id in (found[1] or "").split(",") if id.strip()] if found else []


def ignored(text: str) -> dict[int, set[str]]:
    """Which rules are ignored on which lines."""
    lines: dict[int, set[str]] = {}
    for line, _, alone, comment in _comments(text):
        lines.setdefault(line + alone, set()).update(_ids(comment))
    return lines


@rule(
    "bare-ignore",
    words=(MARK,),
    statement="An inline exception names the rule it is an exception to.",
    source="A habit of this project: an exception that hides everything hides the next defect too.",
    looks="`# trueformer: ignore` without a rule in brackets, or with one that does not exist.",
    tolerance="None: it is silent only where every rule named exists.",
    symptoms="A new defect on that line is never reported; a misspelt rule hides nothing at all.",
    causes="Haste, or a rule that was renamed.",
    remedy="write the rule in brackets and the reason after it",
)
def bare_ignore(code: Reading) -> Iterator[Found]:
    """Say what is excepted, and why.

    Wrong:
        import random
        seed = random.random()  # trueformer: ignore

    Right:
        import random
        seed = random.random()  # trueformer: ignore[source/unsafe-load] an example
    """
    for line, column, _, comment in _comments(code.text):
        place = ast.Pass(lineno=line, col_offset=column, end_lineno=line, end_col_offset=column)
        ids = _ids(comment)
        if not ids:
            yield Found(place, "this exception names no rule, so it has no effect")
        for id in ids:
            if id not in RULES:
                yield Found(place, f"there is no rule {id}, so this exception has no effect")
