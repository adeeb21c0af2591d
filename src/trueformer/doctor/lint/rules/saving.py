"""The rule about writing files: a save that is interrupted must not destroy what was there."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import (
    Reading,
    argument,
    dotted,
    last,
    names,
    own,
    parameters,
    parts,
    receiver,
)
from trueformer.doctor.lint.rule import Found, rule

PASSING = {"tmp", "temp", "temporary", "partial", "part", "staging", "buffer", "bytes", "stream", "tempfile"}
CHECKPOINT = {"checkpoint", "ckpt", "state"}


@rule(
    "in-place-save",
    words=("torch.save", "save_file", "json.dump", "import save"),
    statement="A checkpoint reaches its name only when it is whole.",
    source="rename(2) is atomic within a file system; findings T8.",
    looks="torch.save, safetensors' save_file, and json.dump of a checkpoint, to their final name.",
    tolerance="Silent where the name says temporary, or where the function, or one that calls it, renames, or"
    " gives it a temporary name.",
    symptoms="After a crash or a full disk during a save there is no readable checkpoint left.",
    causes="The file is opened under its own name: the old one is gone before the new one is written.",
    remedy="write to a temporary name beside it, flush and fsync, then os.replace",
)
def in_place_save(code: Reading) -> Iterator[Found]:
    """Opening a file for writing empties it. Whatever stops the program then leaves neither old nor new.

    Wrong:
        import torch
        def save(model, path):
            torch.save(model.state_dict(), path)

    Right:
        import os
        import torch
        def save(model, path):
            torch.save(model.state_dict(), path + ".tmp")
            os.replace(path + ".tmp", path)
    """
    for call in code.calls("save", "save_file", "dump"):
        target = _target(code, call)
        if target is None or _is_passing(code, target) or _renamed(code, call):
            continue
        if not _given_passing(code, call, target):
            yield Found(
                call,
                f"{dotted(call.func)} writes under the final name: interrupted, it leaves a broken file there",
            )


def _target(code: Reading, call: ast.Call) -> ast.expr | None:
    """Where a call saves to, if it saves a checkpoint."""
    full = code.name(call.func)
    if full == "torch.save":
        return argument(call, 1, "f")
    if full in ("safetensors.torch.save_file", "safetensors.numpy.save_file"):
        return argument(call, 1, "filename")
    if full == "json.dump" and (target := argument(call, 1, "fp")) is not None:
        opened = _opened(code, target)
        about = {part for name in names(call) | (names(opened) if opened else set()) for part in parts(name)}
        return opened if opened is not None and about & CHECKPOINT else None
    return None


def _opened(code: Reading, node: ast.expr) -> ast.expr | None:
    """The call that opened the file of that name, in a `with` around it."""
    for outer in code.around(node):
        for item in outer.items if isinstance(outer, ast.With) else []:
            if item.optional_vars and dotted(item.optional_vars) == dotted(node):
                return item.context_expr
    return None


def _is_passing(code: Reading, target: ast.expr, depth: int = 2) -> bool:
    """Whether the name, or what it was made of, says that it is temporary or in memory."""
    texts = [n.value for n in ast.walk(target) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    pieces = {part for text in texts for part in text.lower().replace(".", " ").replace("/", " ").split()}
    if PASSING & ({part for name in names(target) for part in parts(name)} | pieces):
        return True
    if any(text.lower().endswith(("tmp", "temp", "partial")) for text in texts):
        return True
    return depth > 0 and any(_is_passing(code, made, depth - 1) for made in _made_of(code, target))


def _made_of(code: Reading, target: ast.expr) -> Iterator[ast.expr]:
    used = {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
    for node in own(code.scope(target)):
        if isinstance(node, ast.Assign) and any(names(name) & used for name in node.targets):
            yield node.value
        elif isinstance(node, ast.With):
            for item in node.items:
                if item.optional_vars and dotted(item.optional_vars) in used:
                    yield item.context_expr


def _given_passing(code: Reading, call: ast.Call, target: ast.expr) -> bool:
    """Whether the name is a parameter that every call in the file gives a temporary name."""
    function = code.function(call)
    if function is None or dotted(target) not in parameters(function):
        return False
    place = parameters(function).index(dotted(target))
    place -= parameters(function)[0] in ("self", "cls")
    given = [argument(used, place, dotted(target)) for used in code.calls(function.name)]
    return bool(given) and all(value is not None and _is_passing(code, value) for value in given)


def _renamed(code: Reading, call: ast.Call) -> bool:
    function = code.function(call)
    if function is None:
        return any(_renames(code, node) for node in own(code.tree))
    callers: list[ast.AST] = [function]
    callers += [f for used in code.calls(function.name) if (f := code.function(used))]
    return any(_renames(code, node) for caller in callers for node in ast.walk(caller))


def _renames(code: Reading, node: ast.AST) -> bool:
    """os.replace, Path.rename and their like; not the `replace` of text, which takes two arguments."""
    if not isinstance(node, ast.Call):
        return False
    full = code.name(node.func)
    if (
        full in ("os.replace", "os.rename", "os.renames", "shutil.move")
        or "atomic" in last(node.func).lower()
    ):
        return True
    return last(node.func) in ("replace", "rename") and receiver(node) is not None and len(node.args) == 1
