"""The project that a hunter gets: the part of the stack that a small run needs, on its plain and readable backend.

Begins at the files that grade and those that experiment, follows their imports, chooses the plain branch wherever a
backend is asked for, and drops what nothing uses any more: about eighty files. Leaves out planting (`plant.py`).
"""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import trueformer
from trueformer.hunt.plain_branch import plain_branch

PACKAGE = Path(trueformer.__file__).parent
ROOTS = ("as_subject.py", "hunt/subject.py")
GRADES = ("laws/", "subject/", "doctor/", "hunt/")
EXPERIMENTS = PACKAGE / "hunt" / "experiments"
ROOT_INIT = '"""A small transformer language-model stack."""\n'

Sources = Mapping[str, str]


@functools.cache
def project() -> Sources:
    """The sound project: from paths under `trueformer/` to sources."""
    users = {name: (PACKAGE / name).read_text(encoding="utf-8") for name in ROOTS}
    users |= {
        f"experiments/{path.name}": path.read_text(encoding="utf-8") for path in EXPERIMENTS.glob("*.py")
    }
    files = {"__init__.py": ROOT_INIT}
    for name in _reached(users):
        files[name] = plain_branch((PACKAGE / name).read_text(encoding="utf-8"))
    while True:
        shaken = _shaken(files, users)
        kept = {"__init__.py", *_reached(users, shaken)}
        shaken = {name: source for name, source in shaken.items() if name in kept}
        if shaken == files:
            return dict(sorted(files.items()))
        files = shaken


def _reached(users: Sources, files: Sources | None = None) -> list[str]:
    """The files of the stack that these import, directly or not, and the packages that they lie in."""
    found: list[str] = []
    left = [name for source in users.values() for name in _imports(source)]
    while left:
        module = left.pop()
        name = _file(module)
        if name is None or name in {"__init__.py", *ROOTS, *found} or name.startswith(GRADES):
            continue
        if files is not None and name not in files:
            continue
        found.append(name)
        source = (PACKAGE / name).read_text(encoding="utf-8") if files is None else files[name]
        left += [*_imports(source), module.rpartition(".")[0]]
    return found


@functools.cache
def _imports(source: str) -> tuple[str, ...]:
    """The modules of ours that a source may mean by its imports."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    ours = [(node.module, node) for node in nodes if node.module and node.module.startswith("trueformer")]
    return tuple(
        name
        for module, node in ours
        for name in (module, *(f"{module}.{alias.name}" for alias in node.names))
    )


def _file(module: str) -> str | None:
    """The path of a module under the package; None where it is none of the stack."""
    parts = module.split(".")[1:]
    path = PACKAGE.joinpath(*parts)
    if path.with_suffix(".py").is_file() and parts:
        return "/".join(parts) + ".py"
    return "/".join([*parts, "__init__.py"]) if (path / "__init__.py").is_file() else None


def _shaken(files: Sources, users: Sources) -> dict[str, str]:
    """The files without the imports, functions, classes and constants that nothing uses."""
    wanted = _wanted({**files, **users})
    return {name: _without_unused(source, frozenset(wanted[name])) for name, source in files.items()}


def _wanted(sources: Sources) -> dict[str, set[str]]:
    """For each file, the names that others take from it."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for source in sources.values():
        for file, name in _taken(source):
            wanted[file].add(name)
    return wanted


@functools.cache
def _taken(source: str) -> frozenset[tuple[str, str]]:
    """The names that a source takes from other files, each with its file."""
    nodes = list(ast.walk(ast.parse(source)))
    taken: set[tuple[str, str]] = set()
    modules: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = _file(f"{node.module}.{alias.name}")
                if whole is not None and node.module.startswith("trueformer"):
                    modules[alias.asname or alias.name] = whole
                elif (name := _file(node.module)) is not None:
                    taken.add((name, alias.name))
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            taken.add((modules[node.value.id], node.attr))
    return frozenset(taken)


@functools.cache
def _without_unused(source: str, wanted: frozenset[str]) -> str:
    tree, lines = ast.parse(source), source.splitlines()
    dropped: set[int] = set()
    used = wanted | {name for statement in tree.body for name in _names(statement)}
    for statement in tree.body:
        names = _defined(statement)
        unused = [name for name in names if name not in used]
        if unused and len(unused) == len(names):
            first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])
            while first > 1 and lines[first - 2].startswith("#"):
                first -= 1
            dropped.update(range(first, (statement.end_lineno or 0) + 1))
        elif unused and isinstance(statement, ast.Import | ast.ImportFrom):
            statement.names = [a for a in statement.names if (a.asname or a.name) not in unused]
            lines[statement.lineno - 1] = _import_text(statement)
            dropped.update(range(statement.lineno + 1, (statement.end_lineno or 0) + 1))
    kept = [line for number, line in enumerate(lines, 1) if number not in dropped]
    return _spaced("\n".join(kept))


def _names(statement: ast.stmt) -> set[str]:
    """The names that a statement reads, but for its own."""
    read = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    read |= {name for node in ast.walk(statement) for name in _quoted(node)}
    return read - set(_defined(statement))


def _quoted(node: ast.AST) -> set[str]:
    """The names in an annotation that is written as a string."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or not node.value.isidentifier():
        return set()
    return {node.value}


def _defined(statement: ast.stmt) -> list[str]:
    """What a statement of a module binds and nothing else; `_` is bound for its effect."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name] if statement.name != "_" else []
    targets = (
        statement.targets
        if isinstance(statement, ast.Assign)
        else [statement.target]
        if isinstance(statement, ast.AnnAssign)
        else []
    )
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _import_text(statement: ast.Import | ast.ImportFrom) -> str:
    line = ast.unparse(statement)
    if len(line) <= 110 or isinstance(statement, ast.Import):
        return line
    names = "".join(f"    {ast.unparse(alias)},\n" for alias in statement.names)
    return f"from {statement.module} import (\n{names})"


def _spaced(text: str) -> str:
    """As the formatter spaces: two empty lines at most, one newline at the end."""
    while "\n\n\n\n" in text:
        text = text.replace("\n\n\n\n", "\n\n\n")
    text = re.sub(
        r'"""\n\n\n(?=from |import )', '"""\n\n', text, count=1
    )  # a docstring, then what is imported
    return text.strip("\n") + "\n"
