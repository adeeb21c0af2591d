"""Reading files with the rules that are asked for: what was found, and what could not be read.

outcome = lint([Path("src")], read_config(Path("src")))
"""

import ast
import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trueformer.doctor.lint.config import LintConfig
from trueformer.doctor.lint.files import Source, find, read
from trueformer.doctor.lint.reading import UNREADABLE, Reading, columns
from trueformer.doctor.lint.rule import Fix, Found, Rule
from trueformer.doctor.lint.suppress import ignored

FOUND, COULD_NOT_RUN = 1, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One report: the rule, the place (in a notebook also the cell), what is wrong and what to do."""

    rule: str
    message: str
    remedy: str
    path: Path
    line: int
    column: int
    cell: int = 0
    advice: bool = False
    fix: Fix | None = None

    @property
    def place(self) -> str:
        """path:line:column, the cell in between for a notebook."""
        cell = f"cell {self.cell}:" if self.cell else ""
        return f"{self.path}:{cell}{self.line}:{self.column}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A file, or another tool, that could not be read or run, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Everything that was found, in the order of files and lines."""

    hits: tuple[Hit, ...]
    failures: tuple[Failure, ...]
    files: int

    @property
    def status(self) -> int:
        """0 clean, 1 findings, 2 something could not be read; advice alone leaves it clean."""
        if self.failures:
            return COULD_NOT_RUN
        return FOUND if any(not hit.advice for hit in self.hits) else 0


def lint(paths: Iterable[Path], config: LintConfig) -> Outcome:
    """Read every file below the paths.

    Raises:
        ValueError: a path is not there.
    """
    hits: list[Hit] = []
    failures: list[Failure] = []
    files = list(find(paths, config.exclude, config.root))
    with _without_collector():
        for path in files:
            try:
                hits += lint_source(path, read(path), config.rules(path))
            except (OSError, *UNREADABLE) as error:
                failures.append(Failure(path=path, reason=_reason(error)))
    return Outcome(hits=tuple(hits), failures=tuple(failures), files=len(files))


def lint_source(path: Path, source: Source, rules: Iterable[Rule]) -> list[Hit]:
    """What the rules find in one text, less its inline exceptions.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: it is not a Python program.
    """
    code = Reading(source.text)
    excepted = ignored(source.text)
    lines = source.text.split("\n")
    hits = []
    for rule in rules:
        for found in rule.check(code) if rule.may_fire(source.text) else ():
            if not any(rule.id in excepted.get(line, ()) for line in _lines(found.node)):
                column = columns(lines, found.node.lineno, found.node.col_offset) + 1
                hits.append(_hit(path, source, rule, found, column))
    return sorted(hits, key=lambda hit: (hit.cell, hit.line, hit.column, hit.rule))


def _lines(node: ast.stmt | ast.expr | ast.ExceptHandler) -> range:
    """The lines on which an exception may stand: all of an expression, the head of a block."""
    last = node.lineno if hasattr(node, "body") else node.end_lineno or node.lineno
    return range(node.lineno, last + 1)


def _hit(path: Path, source: Source, rule: Rule, found: Found, column: int) -> Hit:
    cell, line = source.cells[found.node.lineno - 1] if source.cells else (0, found.node.lineno)
    return Hit(
        rule=rule.id,
        message=found.message,
        remedy=rule.remedy,
        path=path,
        line=line,
        column=column,
        cell=cell,
        advice=rule.law.advice,
        fix=None if cell else found.fix,
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        where = f", line {error.lineno}" if error.lineno else ""
        return f"this is not Python that can be read: {error.msg}{where}"
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror or error}"
    if isinstance(error, RecursionError | MemoryError):
        return "it is nested too deeply to be read"
    return str(error)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Syntax trees have no cycles, so looking for some in a million nodes is wasted."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
