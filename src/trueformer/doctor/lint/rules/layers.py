"""The rule about layers that a module keeps and does not know of."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import Reading, dotted, last, names, receiver
from trueformer.doctor.lint.rule import Found, rule

STATELESS = {
    *(
        "Parameter",
        "Buffer",
        "ReLU",
        "ReLU6",
        "LeakyReLU",
        "ELU",
        "GELU",
        "SiLU",
        "Mish",
        "Tanh",
        "Sigmoid",
        "Softplus",
    ),
    *("Softmax", "LogSoftmax", "Identity", "Flatten", "Unflatten", "Upsample", "Hardswish", "Hardsigmoid"),
}


@rule(
    "plain-list",
    words=("Module",),
    statement="Layers that a module keeps in a list or a dictionary are registered.",
    source="torch.nn.ModuleList and ModuleDict.",
    looks="`self.name = [Layer(...), ...]` in an nn.Module, of torch's layers or of modules in the same "
    "file.",
    tolerance="Silent on layers without state, such as losses and activations, and where the class hands "
    "the list to "
    "ModuleList, Sequential, add_module or setattr.",
    symptoms="The layers have no gradient step, do not move to the device and are not saved.",
    causes="A plain list looks the same and even runs.",
    remedy="wrap it in nn.ModuleList or nn.ModuleDict",
)
def plain_list(code: Reading) -> Iterator[Found]:
    """model.parameters() does not look into lists.

    Wrong:
        from torch import nn
        class Stack(nn.Module):
            def __init__(self, depth):
                super().__init__()
                self.layers = [nn.Linear(8, 8) for _ in range(depth)]

    Right:
        from torch import nn
        class Stack(nn.Module):
            def __init__(self, depth):
                super().__init__()
                self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(depth)])
    """
    for node, collection, elements in _collections(code):
        name = dotted(collection)
        if not name.startswith("self.") or not any(_is_layer(code, element) for element in elements):
            continue
        module = code.class_of(node)
        if module in code.modules and not _registered(module, last(collection)):
            yield Found(node, f"{name} keeps layers in a plain collection: they are not trained")


def _collections(code: Reading) -> Iterator[tuple[ast.stmt | ast.expr, ast.expr, list[ast.expr]]]:
    """What is put where: `self.a = [x, y]`, and `self.a.append(x)` after `self.a = []`."""
    empty: set[tuple[ast.AST | None, str]] = set()
    for assign in code.all(ast.Assign):
        yield assign, assign.targets[0], _elements(assign.value)
        if isinstance(assign.value, ast.List) and not assign.value.elts:
            empty.add((code.class_of(assign), dotted(assign.targets[0])))
    for call in code.calls("append"):
        base = receiver(call)
        if base is not None and (code.class_of(call), dotted(base)) in empty:
            yield call, base, call.args


def _elements(value: ast.expr) -> list[ast.expr]:
    if isinstance(value, ast.List | ast.Tuple):
        return value.elts
    if isinstance(value, ast.ListComp):
        return [value.elt]
    if isinstance(value, ast.Dict):
        return value.values
    return [value.value] if isinstance(value, ast.DictComp) else []


def _is_layer(code: Reading, node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    module, _, name = code.name(node.func).rpartition(".")
    if module == "torch.nn":
        return name[:1].isupper() and name not in STATELESS and "Loss" not in name and "Pool" not in name
    return not module and any(found.name == name for found in code.modules)


def _registered(module: ast.ClassDef, name: str) -> bool:
    """Whether the collection is given to something that registers what is in it."""
    for call in (n for n in ast.walk(module) if isinstance(n, ast.Call)):
        if last(call.func) in ("add_module", "register_module", "setattr"):
            return True
        if last(call.func) in ("ModuleList", "Sequential", "ModuleDict") and name in names(call):
            return True
    return False
