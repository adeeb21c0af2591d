"""Every small change of one line of a source: an operator, a comparison, a number, a `not`, the order of arguments.

These are the slips that people make, and so the repairs of many of them. Leaves out what needs another name or another
statement.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult, ast.Mod),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
BOUND = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.Attribute, ast.Subscript)


@dataclass(frozen=True, slots=True)
class Change:
    """The source with line `line` changed, in the function that begins at line `home` (0: in none)."""

    line: int
    home: int
    source: str


def changes(source: str) -> list[Change]:
    """All of them, in the order of the source."""
    return list(_within(ast.parse(source), None, 0, source))


def _within(node: ast.AST, parent: ast.AST | None, home: int, source: str) -> Iterator[Change]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        home = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    if isinstance(node, ast.expr) and node.lineno == node.end_lineno:
        for new in _others(node, parent):
            changed = _replaced(source, node, new, isinstance(parent, BOUND))
            if changed != source:
                yield Change(node.lineno, home, changed)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or isinstance(node, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _within(child, node, home, source)


def _others(node: ast.expr, parent: ast.AST | None) -> Iterator[ast.expr]:
    """What could stand in the place of an expression."""
    if isinstance(node, ast.BinOp):
        yield from (_with(node, op=op()) for op in OPERATORS.get(type(node.op), ()))
        if not isinstance(node.op, ast.Add | ast.Mult | ast.BitAnd | ast.BitOr):
            yield _with(node, left=node.right, right=node.left)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield from (_with(node, ops=[op()]) for op in COMPARISONS[type(node.ops[0])])
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from _numbers(node.value, signed=isinstance(parent, ast.UnaryOp))
    elif isinstance(node, ast.Call):
        for i in range(len(node.args) - 1):
            yield _with(node, args=[*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]])
    if isinstance(parent, ast.If | ast.IfExp | ast.While) and node is parent.test:
        yield ast.UnaryOp(op=ast.Not(), operand=node)


def _numbers(value: object, *, signed: bool) -> Iterator[ast.expr]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield from (ast.Constant(value + by) for by in (1, -1))
        if not signed:
            yield ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value))


def _with(node: ast.expr, **fields: object) -> ast.expr:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _replaced(source: str, node: ast.expr, new: ast.expr, bound: bool) -> str:
    """With `new` where `node` stands; in parentheses where it could be `bound` to what is around it."""
    lines = source.splitlines(keepends=True)
    line = lines[node.lineno - 1].encode()
    before, after = line[: node.col_offset], line[node.end_col_offset :]
    loose = isinstance(new, ast.BinOp | ast.UnaryOp | ast.Compare | ast.BoolOp | ast.IfExp)
    enclosed = before.endswith((b"(", b"[")) and after.startswith((b")", b"]"))
    text = f"({ast.unparse(new)})" if bound and loose and not enclosed else ast.unparse(new)
    changed = before + text.encode() + after
    return "".join([*lines[: node.lineno - 1], changed.decode(), *lines[node.lineno :]])
