"""One file of Python, read once: its calls by name, its nodes by kind, and what stands around each.

Rules ask this index instead of walking the tree themselves: that is what makes them fast. Names are resolved
through the file's imports: `F.softmax` is `torch.nn.functional.softmax`. Leaves out types and other files.
"""

import ast
import warnings
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import TypeVar, cast

Function = ast.FunctionDef | ast.AsyncFunctionDef
Loop = ast.For | ast.AsyncFor | ast.While
Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef | ast.Module
Node = TypeVar("Node", bound=ast.AST)

USUAL = {"F": "torch.nn.functional", "nn": "torch.nn", "np": "numpy"}
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What Python's parser raises on text that is no program: null bytes and absurd nesting among it."""


class Reading:
    """The index of one file.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: the text is not a Python program.
    """

    def __init__(self, text: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the code that is read, such as an invalid escape
            self.tree = ast.parse(text)
        self.text = text
        self._parents: dict[ast.AST, ast.AST] = {}
        self._kinds: dict[type, list[ast.AST]] = defaultdict(list)
        self._walk()

    def _walk(self) -> None:
        todo: list[ast.AST] = [self.tree]
        parents, kinds = self._parents, self._kinds
        while todo:
            node = todo.pop()
            kind = type(node)
            kinds[kind].append(node)
            for field in kind._fields:
                value = getattr(node, field, None)
                for child in value if type(value) is list else (value,):
                    if isinstance(child, ast.AST):
                        parents[child] = node
                        todo.append(child)

    def all(self, *kinds: type[Node]) -> Iterator[Node]:
        """Every node of these kinds in the file."""
        for kind in kinds:
            yield from cast("list[Node]", self._kinds[kind])

    @cached_property
    def _calls(self) -> dict[str, list[ast.Call]]:
        calls: dict[str, list[ast.Call]] = defaultdict(list)
        for call in self.all(ast.Call):
            name = last(call.func)
            calls[name].append(call)
            if isinstance(call.func, ast.Name) and (real := self.name(call.func).rpartition(".")[2]) != name:
                calls[real].append(call)
        return calls

    @cached_property
    def functions(self) -> dict[str, list[Function]]:
        """The file's functions and methods by name."""
        found: dict[str, list[Function]] = defaultdict(list)
        for function in self.all(ast.FunctionDef, ast.AsyncFunctionDef):
            found[function.name].append(function)
        return found

    @cached_property
    def _aliases(self) -> dict[str, str]:
        aliases = dict(USUAL)
        for node in self.all(ast.Import):
            for name in node.names:
                aliases[name.asname or name.name.split(".")[0]] = (
                    name.name if name.asname else name.name.split(".")[0]
                )
        for node in self.all(ast.ImportFrom):
            for name in node.names:
                aliases[name.asname or name.name] = f"{node.module or ''}.{name.name}"
        return aliases

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """The calls whose last name is one of these: `torch.load(...)` and `load(...)` for "load"."""
        for name in names:
            yield from self._calls.get(name, ())

    def name(self, node: ast.AST | None) -> str:
        """The full dotted name, imports resolved; empty where it is no name."""
        first, _, rest = dotted(node).partition(".")
        first = self._aliases.get(first, first)
        return f"{first}.{rest}" if rest else first

    def parent(self, node: ast.AST) -> ast.AST | None:
        """What stands directly around a node; None of the module."""
        return self._parents.get(node)

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """What stands around a node, from the inside out."""
        while (outer := self._parents.get(node)) is not None:
            yield outer
            node = outer

    def function(self, node: ast.AST) -> Function | None:
        """The function a node stands in."""
        return next((outer for outer in self.around(node) if isinstance(outer, Function)), None)

    def scope(self, node: ast.AST) -> Function | ast.Module:
        """The function a node stands in, or the module."""
        return self.function(node) or self.tree

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        """The class a node stands in."""
        return next((outer for outer in self.around(node) if isinstance(outer, ast.ClassDef)), None)

    def loops(self, node: ast.AST) -> list[Loop]:
        """The loops around a node within its function, the innermost first."""
        found: list[Loop] = []
        for outer in self.around(node):
            if isinstance(outer, Function | ast.Lambda):
                break
            if isinstance(outer, Loop):
                found.append(outer)
        return found

    def statement(self, node: ast.AST) -> ast.stmt | None:
        """The statement a node is part of."""
        if isinstance(node, ast.stmt):
            return node
        return next((outer for outer in self.around(node) if isinstance(outer, ast.stmt)), None)

    def reached(self, node: ast.AST, depth: int = 2) -> Iterator[ast.AST]:
        """The nodes below a node, and below the file's functions that are called there."""
        seen: set[ast.AST] = set()
        todo = [(node, depth)]
        while todo:
            root, left = todo.pop()
            if root in seen:
                continue
            seen.add(root)
            for inner in ast.walk(root):
                yield inner
                if left and isinstance(inner, ast.Call):
                    todo += [(called, left - 1) for called in self.functions.get(last(inner.func), ())]

    @cached_property
    def modules(self) -> set[ast.ClassDef]:
        """The classes that derive from torch's Module, also through other classes of the file."""
        named = {node.name: node for node in self.all(ast.ClassDef)}
        found: set[ast.ClassDef] = set()
        for _ in range(3):  # a class may derive from one below it in the list
            for node in named.values():
                bases = [self.name(base) for base in node.bases]
                if any(
                    base.rsplit(".", 1)[-1] in ("Module", "LightningModule", "PreTrainedModel")
                    or named.get(base) in found
                    for base in bases
                ):
                    found.add(node)
        return found


def dotted(node: ast.AST | None) -> str:
    """`a.b.c` of a name or an attribute chain; empty of anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    parts.append(node.id)
    return ".".join(reversed(parts))


def last(node: ast.AST | None) -> str:
    """The last name of an attribute chain, whatever it starts with: `step` of `build().step`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def receiver(call: ast.Call) -> ast.expr | None:
    """What a method is called on; None of a plain function."""
    return call.func.value if isinstance(call.func, ast.Attribute) else None


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value given for a keyword."""
    return next((given.value for given in call.keywords if given.arg == name), None)


def argument(call: ast.Call, place: int, name: str) -> ast.expr | None:
    """The value given by place or by keyword."""
    if len(call.args) > place and not any(isinstance(arg, ast.Starred) for arg in call.args[: place + 1]):
        return call.args[place]
    return keyword(call, name)


def open_ended(call: ast.Call) -> bool:
    """Whether more arguments may come in by `*` or `**`."""
    return any(given.arg is None for given in call.keywords) or any(
        isinstance(arg, ast.Starred) for arg in call.args
    )


def is_constant(node: ast.AST | None, value: object) -> bool:
    """Whether a node is this very constant: True is not 1."""
    return isinstance(node, ast.Constant) and node.value is value


def own(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below a node, nested functions and classes left out."""
    todo = list(ast.iter_child_nodes(node))
    while todo:
        inner = todo.pop()
        yield inner
        if not isinstance(inner, Function | ast.Lambda | ast.ClassDef):
            todo.extend(ast.iter_child_nodes(inner))


def names(node: ast.AST) -> set[str]:
    """Every identifier below a node: names, attributes, parameters and keywords."""
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            found.add(inner.id)
        elif isinstance(inner, ast.Attribute):
            found.add(inner.attr)
        elif isinstance(inner, ast.arg | ast.keyword) and inner.arg:
            found.add(inner.arg)
    return found


def parts(name: str) -> list[str]:
    """The words of an identifier in small letters: `valLoader_2` is val, loader, 2."""
    spaced = "".join(
        f"_{c}" if c.isupper() and i and not name[i - 1].isupper() else c for i, c in enumerate(name)
    )
    return [part for part in spaced.lower().split("_") if part]


def columns(lines: list[str], line: int, offset: int) -> int:
    """The column, in characters from 0, of an offset in bytes, which is what `ast` counts."""
    text = lines[line - 1]
    return offset if text.isascii() else len(text.encode()[:offset].decode(errors="ignore"))


def parameters(function: Function) -> list[str]:
    """The names of a function's parameters."""
    given = function.args
    return [arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
