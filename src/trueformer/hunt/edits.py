"""Edits of source that are matched on the syntax tree: layout, comments and the place in the file do not matter.

An edit names a function or class and a piece of code in it that stands there once, as an expression or as statements,
and the code to put in its place. Everything around it stays as it is, to the character.
"""

import ast
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Sources = Mapping[str, str]
Defined = ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """Replaces `old` by `new` in what `where` names ("Block.forward"; "": the whole file) of `file`.

    Without `old`, the docstring of `where` becomes `new`. A definition that has moved to another file is found there.
    """

    file: str
    where: str = ""
    old: str = ""
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.where or 'module'}"


def apply(edits: tuple[Edit, ...], sources: Sources) -> dict[str, str]:
    """The sources with all edits in them, one after the other.

    Raises:
        ValueError: the code to replace is not there exactly once, or what comes out does not parse.
    """
    changed = dict(sources)
    for edit in edits:
        file = _home(edit, changed)
        changed[file] = _edited(edit, changed[file])
    return changed


def _home(edit: Edit, sources: Sources) -> str:
    """The file that holds the definition: the one that is named, or the only one that has it."""
    if edit.file in sources and _scope(edit.where, sources[edit.file]) is not None:
        return edit.file
    homes = [
        file for file, source in sources.items() if edit.where and _scope(edit.where, source) is not None
    ]
    if len(homes) != 1:
        raise ValueError(f"{edit}: no such definition, expected one in {edit.file}: write the edit anew")
    return homes[0]


def _edited(edit: Edit, source: str) -> str:
    scope = _scope(edit.where, source)
    assert scope is not None
    spans = list(_matches(edit, scope)) if edit.old else [_docstring(edit, scope)]
    if len(spans) != 1:
        raise ValueError(
            f"{edit}: {len(spans)} places read {edit.old!r}, expected 1: write the edit anew for the code as it is"
        )
    changed = _replaced(source, spans[0], edit.new)
    try:
        ast.parse(changed)
    except SyntaxError as error:
        raise ValueError(f"{edit}: with {edit.new!r} the file does not parse: {error}") from error
    return changed


def _scope(where: str, source: str) -> ast.Module | Defined | None:
    """The definition that a dotted name means."""
    node: ast.Module | Defined = ast.parse(source)
    for name in where.split(".") if where else ():
        inside = [child for child in node.body if isinstance(child, Defined) and child.name == name]
        if not inside:
            return None
        node = inside[0]
    return node


@dataclass(frozen=True, slots=True)
class _Span:
    """From a place in the source to another, lines from 1 and columns in bytes; `lines`: whole ones."""

    start: tuple[int, int]
    end: tuple[int, int]
    lines: bool
    quoted: bool = False


def _matches(edit: Edit, scope: ast.AST) -> Iterator[_Span]:
    pattern = _parsed(edit)
    if len(pattern) == 1 and isinstance(pattern[0], ast.Expr):
        wanted = ast.dump(pattern[0].value)
        lone = set() if _is_expression(edit.new) else _lone(scope)
        for node in ast.walk(scope):
            if isinstance(node, ast.expr) and ast.dump(node) == wanted:
                yield _span(node, node, lines=node in lone)
        return
    wanted = [ast.dump(statement) for statement in pattern]
    for node in ast.walk(scope):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            for window in _windows(block, len(pattern)) if isinstance(block, list) else ():
                if [ast.dump(statement) for statement in window] == wanted:
                    yield _span(window[0], window[-1], lines=True)


def _parsed(edit: Edit) -> list[ast.stmt]:
    """`old` as statements; it may be what only stands inside a function or a loop."""
    try:
        return ast.parse(textwrap.dedent(edit.old).strip()).body
    except SyntaxError as error:
        raise ValueError(f"{edit}: {edit.old!r} is no expression and no statements: {error}") from error


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        return False
    return True


def _lone(scope: ast.AST) -> set[ast.expr]:
    """The expressions that are statements of their own, so that statements can stand in their place."""
    return {node.value for node in ast.walk(scope) if isinstance(node, ast.Expr)}


def _windows(block: list, size: int) -> Iterator[list[ast.stmt]]:
    yield from (block[i : i + size] for i in range(len(block) - size + 1))


def _docstring(edit: Edit, scope: ast.Module | Defined) -> _Span:
    first = scope.body[0] if scope.body else None
    if not isinstance(first, ast.Expr) or not isinstance(first.value, ast.Constant):
        raise ValueError(f"{edit}: there is no docstring to replace")
    span = _span(first, first, lines=False)
    return _Span(span.start, span.end, lines=False, quoted=True)


def _span(first: ast.stmt | ast.expr, last: ast.stmt | ast.expr, *, lines: bool) -> _Span:
    decorators = getattr(first, "decorator_list", ())
    start = min([first.lineno, *(d.lineno for d in decorators)])
    assert last.end_lineno is not None
    assert last.end_col_offset is not None
    return _Span((start, first.col_offset), (last.end_lineno, last.end_col_offset), lines)


def _replaced(source: str, span: _Span, new: str) -> str:
    lines = source.splitlines(keepends=True)
    (first, column), (last, end) = span.start, span.end
    if span.lines:
        text = textwrap.indent(textwrap.dedent(new).strip("\n") + "\n", " " * column)
        return "".join([*lines[: first - 1], text, *lines[last:]])
    before = lines[first - 1].encode()[:column].decode()
    after = lines[last - 1].encode()[end:].decode()
    text = new.strip("\n")
    if span.quoted:
        quoted = f'"""{textwrap.dedent(text)}"""' if "\n" not in text else f'"""{textwrap.dedent(text)}\n"""'
        text = textwrap.indent(quoted, " " * column).lstrip()
    return "".join([*lines[: first - 1], before, text, after, *lines[last:]])
