"""Small mechanical edits of a source file, as a mutation tester makes them: each gives one mutant.

Leaves out what no single edit of an expression gives; those are written by hand (`catalogue.py`).
"""

import ast
from collections.abc import Callable, Iterator

SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
# Dropping or reordering these says nothing of a model: they build, raise, or ask about types.
NOT_DROPPED = {
    "super",
    "isinstance",
    "range",
    "len",
    "zip",
    "enumerate",
    "list",
    "tuple",
    "asdict",
    "max",
    "min",
}

Edit = tuple[str, ast.AST, ast.AST]  # what is done, the node that goes, the node that comes


def mutants(source: str) -> Iterator[tuple[str, int, str]]:
    """Description, line and whole text of every mutant of `source`, always in the same order.

    Example: `x = a + b` gives `swap Add for Sub`, `drop left`, `drop right`.
    """
    tree = ast.parse(source)
    offsets = _line_offsets(source)
    for node in _walk(tree):
        for operator in OPERATORS:
            for said, old, new in operator(node):
                start = offsets[old.lineno - 1] + old.col_offset
                end = offsets[old.end_lineno - 1] + old.end_col_offset
                raw = source.encode()
                text = ast.unparse(ast.fix_missing_locations(new))
                text = (
                    f"({text})"
                    if isinstance(new, ast.BinOp | ast.BoolOp | ast.Compare | ast.UnaryOp)
                    else text
                )
                mutated = (raw[:start] + text.encode() + raw[end:]).decode()
                yield f"{said}: {ast.unparse(old)}", old.lineno, mutated


def _line_offsets(source: str) -> list[int]:
    """Bytes before each line: `ast` counts columns in bytes."""
    offsets = [0]
    for line in source.encode().splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    return offsets


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Depth first, in the order of the text; no annotations, strings of documentation or decorators."""
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child)


def swap_operators(node: ast.AST) -> Iterator[Edit]:
    """+ and −, * and /, < and <=, == and !=, and, or."""
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        new = ast.BinOp(node.left, SWAPS[type(node.op)](), node.right)
        yield f"swap {type(node.op).__name__} for {type(new.op).__name__}", node, new
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
        new_op = SWAPS[type(node.ops[0])]
        new = ast.Compare(node.left, [new_op()], node.comparators)
        yield f"swap {type(node.ops[0]).__name__} for {new_op.__name__}", node, new
    if isinstance(node, ast.BoolOp):
        new = ast.BoolOp(SWAPS[type(node.op)](), node.values)
        yield f"swap {type(node.op).__name__} for {type(new.op).__name__}", node, new


def drop_a_side(node: ast.AST) -> Iterator[Edit]:
    """`x + f(x)` without `x +`, or without `+ f(x)`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mult):
        yield "drop left", node, node.right
        yield "drop right", node, node.left


def change_constants(node: ast.AST) -> Iterator[Edit]:
    """Whole numbers one more and one less, fractions doubled, True for False."""
    if not isinstance(node, ast.Constant):
        return
    if isinstance(node.value, bool):
        yield "negate", node, ast.Constant(not node.value)
    elif isinstance(node.value, int):
        for other in (node.value + 1, node.value - 1):
            yield f"{other} for {node.value}", node, _number(other)
    elif isinstance(node.value, float):
        yield f"{2 * node.value} for {node.value}", node, ast.Constant(2 * node.value)


def _number(value: int) -> ast.expr:
    return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))


def change_signs(node: ast.AST) -> Iterator[Edit]:
    """-1 for -2 and back; `not x`, `-x` and `~x` without their sign."""
    if not isinstance(node, ast.UnaryOp):
        return
    value = node.operand.value if isinstance(node.operand, ast.Constant) else None
    if isinstance(node.op, ast.USub) and value in (1, 2):
        yield f"-{3 - value} for -{value}", node, _number(value - 3)
    else:
        yield f"drop {type(node.op).__name__}", node, node.operand


def negate_conditions(node: ast.AST) -> Iterator[Edit]:
    """`if not c` for `if c`."""
    if isinstance(node, ast.If | ast.IfExp):
        yield "negate condition", node.test, ast.UnaryOp(ast.Not(), node.test)


def change_calls(node: ast.AST) -> Iterator[Edit]:
    """`x` for `f(x)` and for `x.f()`; `f(b, a)` for `f(a, b)`; `f(a)` for `f(a, k=v)`."""
    if not isinstance(node, ast.Call) or _name(node.func) in NOT_DROPPED or "super()" in ast.unparse(node):
        return
    plain = [argument for argument in node.args if not isinstance(argument, ast.Starred)]
    if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
        yield "drop method", node, node.func.value
    elif plain and plain == node.args and not _name(node.func)[0].isupper():
        yield "drop call", node, node.args[0]
    if len(plain) >= 2 and plain == node.args:
        swapped = [node.args[1], node.args[0], *node.args[2:]]
        yield "swap arguments", node, ast.Call(node.func, swapped, node.keywords)
    for i, keyword in enumerate(node.keywords):
        rest = node.keywords[:i] + node.keywords[i + 1 :]
        yield f"drop {keyword.arg}", node, ast.Call(node.func, node.args, rest)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "?")


def _is_module(owner: ast.expr) -> bool:
    """`torch`, `F`, `nn.init`, `self`: what a method belongs to without being its subject."""
    return ast.unparse(owner) in {"torch", "F", "nn", "math", "self", "nn.init"}


def drop_statements(node: ast.AST) -> Iterator[Edit]:
    """A call made for what it does, left out."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and "super()" not in ast.unparse(node):
        yield "drop statement", node, ast.Pass()


OPERATORS: tuple[Callable[[ast.AST], Iterator[Edit]], ...] = (
    swap_operators,
    drop_a_side,
    change_constants,
    change_signs,
    negate_conditions,
    change_calls,
    drop_statements,
)
