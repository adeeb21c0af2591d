"""Notices a repair that fools the grader instead of the bug: code that reaches for the grader, or changes torch under it.

Two looks: at what was written (`reaching`), and, in the grading process, at what became of torch, the laws and the
grader while the hunter's code ran (`Untouched`). Leaves out probes known by heart: shapes and seeds are drawn anew.
"""

import ast
import builtins
import inspect
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

GRADER = (
    "trueformer.laws",
    "trueformer.subject",
    "trueformer.doctor",
    "trueformer.hunt",
    "trueformer.as_subject",
)
WATCHED = (
    "torch",
    "torch.nn.functional",
    "torch.testing",
    "torch.optim",
    "torch.overrides",
    "torch.linalg",
    "math",
    "random",
)
CLASSES = ("torch.Tensor.", "torch.nn.Module.")
MODULES = {
    "ctypes", "gc", "inspect", "sys", "traceback", "importlib", "builtins", "pytest", "unittest", "faulthandler",
    "multiprocessing", "subprocess", "socket",
}  # fmt: skip
NAMES = {"__import__", "__builtins__", "attrgetter", "compile", "eval", "exec", "globals", "vars"}
ATTRIBUTES = {
    "_getframe", "__code__", "__dict__", "__globals__", "__subclasses__", "attrgetter", "environ", "setprofile",
    "settrace", "system",
}  # fmt: skip
NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname")


def reaching(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What the changed files newly use that a repair has no need of: "nn/attention.py uses sys.modules", and the like."""
    found = []
    for file, source in after.items():
        if source == before.get(file):
            continue
        old = set(_uses(before[file])) if file in before else set()
        found += [f"{file} {use}" for use in dict.fromkeys(_uses(source)) if use not in old]
    return found


def _uses(source: str) -> Iterator[str]:
    """Every reach of a source, in words; a file that does not parse has none."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    modules = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    for node in ast.walk(tree):
        yield from _reach(node, modules)


def _reach(node: ast.AST, modules: set[str]) -> Iterator[str]:
    """What one node reaches for; `modules` are the names of whole modules in its file."""
    if isinstance(node, ast.Import):
        yield from (
            f"uses {a.name}" for a in node.names if a.name.split(".")[0] in MODULES or _grades(a.name)
        )
    elif isinstance(node, ast.ImportFrom) and node.module:
        if node.module.split(".")[0] in MODULES or _grades(node.module):
            yield f"uses {node.module}"
    elif isinstance(node, ast.Name) and node.id in NAMES:
        yield f"uses {node.id}"
    elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
        yield f"uses .{node.attr}"
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("setattr", "getattr")
    ):
        verb = "sets" if node.func.id == "setattr" else "looks into"
        yield from (f"{verb} {ast.unparse(a)}" for a in node.args[:1] if _root(a) in modules)
    elif isinstance(node, ast.Assign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        named = [t for t in targets if isinstance(t, ast.Attribute)]
        yield from (f"assigns {ast.unparse(t)}" for t in named if _root(t) in modules)


def _grades(module: str) -> bool:
    return module.startswith(GRADER)


def _root(value: ast.expr) -> str | None:
    """The name that a chain of attributes begins with."""
    while isinstance(value, ast.Attribute):
        value = value.value
    return value.id if isinstance(value, ast.Name) else None


def no_network() -> None:
    """From now on, whatever this process runs that wants the network gets a PermissionError; it cannot be undone."""

    def refuse(event: str, arguments: tuple) -> None:
        if event in NETWORK:
            raise PermissionError(f"{event}: a project that is graded has no network")

    sys.addaudithook(refuse)


class Untouched:
    """What torch, the laws and the grader are now, to be compared with what they are later."""

    def __init__(self) -> None:
        self._before = dict(_state())

    def changes(self) -> list[str]:
        """The names that mean something else than before."""
        now = dict(_state())
        changed = {name for name, what in self._before.items() if now.get(name) != what}
        # A class's method may be one that it inherits, so that a change adds a name.
        return sorted(
            changed | {name for name in now.keys() - self._before.keys() if name.startswith(CLASSES)}
        )


def _state() -> Iterator[tuple[str, Any]]:
    """Every function that matters, by name, with its identity and its code's."""
    import torch

    spaces: list[tuple[str, Any]] = [(name, sys.modules[name]) for name in WATCHED if name in sys.modules]
    spaces += [(name, module) for name, module in sorted(sys.modules.items()) if _grades(name)]
    spaces += [("torch.Tensor", torch.Tensor), ("torch.nn.Module", torch.nn.Module), ("builtins", builtins)]
    for name, space in spaces:
        for key, value in sorted(vars(space).items()) if isinstance(space, ModuleType | type) else ():
            if callable(value) and not inspect.ismodule(value):
                yield f"{name}.{key}", _identity(value)
                if isinstance(value, type) and _grades(getattr(value, "__module__", "") or ""):
                    yield from (
                        (f"{name}.{key}.{k}", _identity(v)) for k, v in vars(value).items() if callable(v)
                    )


def _identity(value: Any) -> tuple[int, ...]:
    return (id(value), id(value.__code__)) if isinstance(value, FunctionType) else (id(value),)
