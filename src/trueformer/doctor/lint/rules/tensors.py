"""The rule about tensors that a module keeps and does not know of."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import Function, Reading, dotted, last, own, receiver
from trueformer.doctor.lint.rule import Fix, Found, rule

MAKERS = {
    *("arange", "linspace", "logspace", "zeros", "ones", "full", "empty", "eye", "rand", "randn", "randint"),
    *("tril_indices", "triu_indices", "from_numpy", "hann_window", "zeros_like", "ones_like"),
}
PLAIN = {"item", "tolist", "numpy", "size", "dim", "numel", "stride", "max", "min", "sum", "mean"}
MOVES = ("to", "type_as", "cuda", "tolist", "numpy", "item")
REGISTERS = ("register_buffer", "register_parameter", "setattr")


@rule(
    "plain-tensor",
    words=("Module",),
    statement="A tensor that a module keeps is a parameter or a buffer.",
    source="torch.nn.Module.register_buffer; finding A3.",
    looks="`self.name = torch....` in the __init__ of an nn.Module.",
    tolerance="Silent on single numbers, and where the class registers, moves or removes it by itself.",
    symptoms="After .to(device) or .to(dtype) the table is left behind: an error, or silently another "
    "precision.",
    causes="A table of cosines, positions or a mask was assigned like any other attribute.",
    remedy='self.register_buffer("name", tensor, persistent=False)',
)
def plain_tensor(code: Reading) -> Iterator[Found]:
    """A module moves what it knows of: its parameters and buffers.

    A buffer is also cast by .to(dtype), and bfloat16 cannot count beyond 256: a table of positions or angles that
    must stay float32 is cast back, or made anew, where it is used.

    Wrong:
        import torch
        from torch import nn
        class Rotary(nn.Module):
            def __init__(self, size):
                super().__init__()
                self.angles = torch.arange(size).float()

    Right:
        import torch
        from torch import nn
        class Rotary(nn.Module):
            def __init__(self, size):
                super().__init__()
                self.register_buffer("angles", torch.arange(size).float(), persistent=False)
    """
    for module in code.modules:
        for init in (f for f in module.body if isinstance(f, Function) and f.name == "__init__"):
            tensors: set[str] = set()
            for assign in _assignments(init):
                for target, value in _pairs(assign):
                    if not _is_tensor(code, value, tensors):
                        tensors.discard(dotted(target))
                    elif isinstance(target, ast.Name):
                        tensors.add(target.id)
                    elif dotted(target).startswith("self.") and not _is_managed(code, module, last(target)):
                        tensors.add(dotted(target))
                        yield _kept(module, assign, target)


def _assignments(init: Function) -> list[ast.Assign | ast.AnnAssign]:
    return sorted((n for n in own(init) if isinstance(n, ast.Assign | ast.AnnAssign)), key=lambda n: n.lineno)


def _pairs(assign: ast.Assign | ast.AnnAssign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each target with its value; `a, b = x, y` is two."""
    if isinstance(assign, ast.AnnAssign):
        yield from [(assign.target, assign.value)] if assign.value else []
        return
    for target in assign.targets:
        if isinstance(target, ast.Tuple) and isinstance(assign.value, ast.Tuple):
            yield from zip(target.elts, assign.value.elts, strict=False)
        else:
            yield target, assign.value


def _is_tensor(code: Reading, node: ast.expr, tensors: set[str]) -> bool:
    """Whether an expression is surely a tensor with more than one element."""
    if isinstance(node, ast.Name | ast.Attribute):
        return dotted(node) in tensors
    if isinstance(node, ast.BinOp):
        return _is_tensor(code, node.left, tensors) or _is_tensor(code, node.right, tensors)
    if isinstance(node, ast.UnaryOp):
        return _is_tensor(code, node.operand, tensors)
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Tuple | ast.Slice) and _is_tensor(code, node.value, tensors)
    return isinstance(node, ast.Call) and _makes_tensor(code, node, tensors)


def _makes_tensor(code: Reading, call: ast.Call, tensors: set[str]) -> bool:
    module, _, name = code.name(call.func).rpartition(".")
    if module == "torch" and name in MAKERS:
        return not (name in ("zeros", "ones", "rand", "randn") and _is_scalar_shape(call))
    if module == "torch" and name == "tensor":
        return bool(call.args) and isinstance(call.args[0], ast.List | ast.ListComp | ast.Tuple)
    if module == "torch":
        inner = [
            e for arg in call.args for e in (arg.elts if isinstance(arg, ast.List | ast.Tuple) else [arg])
        ]
        return (
            name not in PLAIN and name[:1].islower() and any(_is_tensor(code, arg, tensors) for arg in inner)
        )
    base = receiver(call)
    return base is not None and last(call.func) not in PLAIN and _is_tensor(code, base, tensors)


def _is_scalar_shape(call: ast.Call) -> bool:
    """torch.zeros(()) and torch.zeros([]): one number, which mixes with any device."""
    return bool(call.args) and isinstance(call.args[0], ast.Tuple | ast.List) and not call.args[0].elts


def _is_managed(code: Reading, module: ast.ClassDef, name: str) -> bool:
    """Whether the class registers the attribute, deletes it, or moves it where it is used."""
    return any(
        (isinstance(node, Function) and node.name in ("_apply", "to", "__setattr__"))
        or (isinstance(node, ast.Attribute) and node.attr == name and _is_moved(code, node))
        or (isinstance(node, ast.Call) and last(node.func) in REGISTERS and _is_given(node, name))
        for node in ast.walk(module)
    )


def _is_moved(code: Reading, use: ast.Attribute) -> bool:
    return isinstance(use.ctx, ast.Del) or last(code.parent(use)) in MOVES


def _is_given(call: ast.Call, name: str) -> bool:
    return any(isinstance(arg, ast.Constant) and arg.value == name for arg in call.args)


def _kept(module: ast.ClassDef, assign: ast.Assign | ast.AnnAssign, target: ast.expr) -> Found:
    name = last(target)
    stores = [n for n in ast.walk(module) if isinstance(n, ast.Attribute) and n.attr == name]
    once = sum(isinstance(n.ctx, ast.Store) for n in stores) == 1
    started = [n for n in ast.walk(module) if isinstance(n, ast.Call) and last(n.func) == "super"]
    after = any(n.lineno < assign.lineno for n in started)
    simple = isinstance(assign, ast.Assign) and assign.targets == [target] and once and after
    fix = Fix(at=assign, kind="buffer", name=name) if simple else None
    return Found(assign, f"self.{name} is a plain tensor: .to(device) and .to(dtype) leave it behind", fix)
