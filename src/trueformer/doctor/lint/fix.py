"""Applying the fixes that rules offer: libcst edits, so that comments and layout stay as they are.

A file is written to a temporary sibling and renamed. Fixing again changes nothing. Leaves out notebooks.
"""

import ast
import difflib
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from trueformer.doctor.lint.files import read
from trueformer.doctor.lint.reading import columns
from trueformer.doctor.lint.rule import Fix
from trueformer.doctor.lint.run import Outcome


def fixed(text: str, fixes: Iterable[Fix]) -> str:
    """The text with the fixes applied, whose nodes come from a reading of this very text."""
    wrapper = MetadataWrapper(cst.parse_module(text))
    return wrapper.visit(_Editor(text, fixes)).code


def fix_files(outcome: Outcome, *, write: bool) -> tuple[int, str]:
    """Apply every fix of an outcome; how many there were, and all changes as one unified diff.

    Without `write` nothing is changed on disk.
    """
    fixes: dict[Path, list[Fix]] = {}
    for hit in outcome.hits:
        if hit.fix is not None:
            fixes.setdefault(hit.path, []).append(hit.fix)
    diffs = []
    for path, wanted in fixes.items():
        before = read(path).text
        after = fixed(before, wanted)
        diffs.append(_diff(path, before, after))
        if write:
            _write(path, after)
    return sum(map(len, fixes.values())), "".join(diffs)


def _diff(path: Path, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{path}", f"b/{path}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _write(path: Path, text: str) -> None:
    """Replace a file whole, in its own encoding and with its own permissions; a link stays a link."""
    target = path.resolve()
    encoding = cst.parse_module(target.read_bytes()).encoding
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(text.encode(encoding))
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(target.stat().st_mode)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class _Editor(cst.CSTTransformer):
    """Finds the nodes of the fixes by where they begin, and edits them."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, text: str, fixes: Iterable[Fix]) -> None:
        super().__init__()
        lines = text.split("\n")
        self._fixes: dict[tuple[str, int, int], Fix] = {}
        for fix in fixes:
            place: Any = fix.at
            column = 0 if fix.kind == "decorator" else columns(lines, place.lineno, place.col_offset)
            self._fixes[(fix.kind, place.lineno, column)] = fix

    def _fix(self, kind: str, node: cst.CSTNode) -> Fix | None:
        start = self._start(node)
        return self._fixes.get((kind, start.line, start.column))

    def _start(self, node: cst.CSTNode) -> Any:
        return cast(Any, self.get_metadata(PositionProvider, node)).start

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        """Gives a call its argument."""
        fix = self._fix("argument", original_node)
        return updated_node if fix is None else _with_argument(updated_node, fix)

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        """Gives a function its decorator, below those it has: @property must stay above."""
        fix = self._fixes.get(("decorator", self._start(original_node.name).line, 0))
        if fix is None:
            return updated_node
        mark = cst.Decorator(decorator=cst.parse_expression(fix.code))
        return updated_node.with_changes(decorators=[*updated_node.decorators, mark])

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.BaseSmallStatement:
        """Makes an assignment the registration of a buffer."""
        fix = self._fix("buffer", original_node)
        if fix is None:
            return updated_node
        no = cst.Arg(keyword=cst.Name("persistent"), value=cst.Name("False"), equal=_EQUAL)
        comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        name = cst.Arg(cst.SimpleString(f'"{fix.name}"'), comma=comma)
        call = cst.Call(
            cst.parse_expression("self.register_buffer"), [name, cst.Arg(updated_node.value, comma=comma), no]
        )
        return cst.Expr(call, semicolon=updated_node.semicolon)

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        """Replaces a name by the code of its fix."""
        return self._replaced(original_node, updated_node)

    def leave_Attribute(
        self, original_node: cst.Attribute, updated_node: cst.Attribute
    ) -> cst.BaseExpression:
        """Replaces an attribute by the code of its fix."""
        return self._replaced(original_node, updated_node)

    def leave_Float(self, original_node: cst.Float, updated_node: cst.Float) -> cst.BaseExpression:
        """Replaces a number by the code of its fix."""
        return self._replaced(original_node, updated_node)

    def _replaced(self, original: cst.BaseExpression, updated: cst.BaseExpression) -> cst.BaseExpression:
        fix = self._fix("expression", original)
        same = fix is not None and cst.Module([]).code_for_node(original) == ast.unparse(fix.at)
        return cst.parse_expression(fix.code) if fix is not None and same else updated


_EQUAL = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))


def _with_argument(call: cst.Call, fix: Fix) -> cst.Call:
    """The call with a keyword argument set, or added beside the last, whose comma it takes over."""
    value = cst.parse_expression(fix.code)
    arguments: Sequence[cst.Arg] = call.args
    for i, given in enumerate(arguments):
        if given.keyword is not None and given.keyword.value == fix.name:
            changed = given.with_changes(value=value)
            return call.with_changes(args=[*arguments[:i], changed, *arguments[i + 1 :]])
    added = cst.Arg(keyword=cst.Name(fix.name), value=value, equal=_EQUAL)
    if not arguments:
        return call.with_changes(args=[added])
    final = arguments[-1]
    space = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    added = added.with_changes(comma=final.comma, whitespace_after_arg=final.whitespace_after_arg)
    final = final.with_changes(comma=space, whitespace_after_arg=cst.SimpleWhitespace(""))
    return call.with_changes(args=[*arguments[:-1], final, added])
