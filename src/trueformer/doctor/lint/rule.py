"""What a source rule is, what it finds, and the list in which every rule stands once.

A rule reads a `Reading` and yields what it found. It is also a law of the book, so `trueformer explain` can
tell it; its docstring is the lesson, with examples after `Wrong:` and `Right:`, which the tests hold it to.
"""

import ast
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from trueformer.doctor.lint.reading import Reading
from trueformer.laws.law import Law, write


@dataclass(frozen=True, kw_only=True, slots=True)
class Fix:
    """A safe edit: which node, what is done to it, with which name and code.

    argument: a call gets `name=code`. decorator: a function gets `@code`. expression: the node becomes
    `code`. buffer: an assignment to `self.name` becomes `self.register_buffer`.
    """

    at: ast.AST
    kind: Literal["argument", "decorator", "expression", "buffer"]
    name: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule found: the node it points at, what is wrong there, and a fix where one is safe."""

    node: ast.stmt | ast.expr | ast.ExceptHandler
    message: str
    fix: Fix | None = None


Check = Callable[[Reading], Iterator[Found]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A rule: its law, what to do about it, the words without which it cannot fire, and the check."""

    law: Law
    remedy: str
    words: tuple[str, ...]
    check: Check

    @property
    def id(self) -> str:
        """The id of its law, such as `source/unsafe-load`."""
        return self.law.id

    def may_fire(self, text: str) -> bool:
        """Whether the text has one of the rule's words."""
        return any(word in text for word in self.words)


RULES: dict[str, Rule] = {}


def rule(
    name: str,
    *,
    words: tuple[str, ...],
    statement: str,
    source: str,
    looks: str,
    tolerance: str,
    symptoms: str,
    causes: str,
    remedy: str,
    advice: bool = False,
) -> Callable[[Check], Check]:
    """Enters the decorated check as the rule `source/name`, and its law into the book."""

    def enter(check: Check) -> Check:
        law = write(
            Law(
                id=f"source/{name}",
                statement=statement,
                source=source,
                looks=looks,
                tolerance=tolerance,
                symptoms=symptoms,
                causes=causes,
                needs=("source",),
                lesson=inspect.cleandoc(check.__doc__ or ""),
                advice=advice,
            )
        )
        RULES[law.id] = Rule(law=law, remedy=remedy, words=words, check=check)
        return check

    return enter
