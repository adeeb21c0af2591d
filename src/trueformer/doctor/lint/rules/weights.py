"""Rules about .data: ties that do not hold, changes that autograd does not see."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import Reading, dotted, last, names, own, parts, receiver
from trueformer.doctor.lint.rule import Found, rule


@rule(
    "tie-by-data",
    words=(".data",),
    statement="Tied weights are one parameter.",
    source="Finding R11; Press and Wolf 2017 for tying itself.",
    looks="`a.weight.data = b.weight.data`.",
    tolerance="Silent on copies (copy_, clone), on moves from new to old, and on the parameter itself.",
    symptoms="Two parameters share memory until one is moved, rebuilt or loaded; both are decayed and "
    "counted.",
    causes=".data looks like the weight, but it is only its storage.",
    remedy="assign the parameter: head.weight = embedding.weight, in a method that is called again after "
    "loading",
)
def tie_by_data(code: Reading) -> Iterator[Found]:
    """Sharing storage is not sharing a parameter: the optimizer sees two, .to() parts them.

    Wrong:
        def tie(model):
            model.head.weight.data = model.embedding.weight.data

    Right:
        def tie(model):
            model.head.weight = model.embedding.weight
    """
    for assign in code.all(ast.Assign):
        target, value = assign.targets[0], assign.value
        both = dotted(target).endswith(".weight.data") and dotted(value).endswith(".weight.data")
        moved = {"old", "new"} & {part for name in names(assign) for part in parts(name)}
        if both and not moved:
            yield Found(
                assign,
                "the storage is shared, not the parameter: the tie is lost by .to(), deepcopy or loading",
            )


@rule(
    "data-write",
    words=(".data",),
    statement="Parameters are changed under no_grad, not behind autograd's back.",
    source="PyTorch's notes on autograd: .data is not seen by its version counter.",
    looks="In-place changes through .data in a forward pass, or in a function that runs backward.",
    tolerance="Silent in initialisation and in optimizers.",
    symptoms="Gradients of a forward pass whose weights were changed meanwhile are wrong, without an error.",
    causes="Code from before torch.no_grad.",
    remedy="with torch.no_grad(): parameter.mul_(...)",
    advice=True,
)
def data_write(code: Reading) -> Iterator[Found]:
    """Under no_grad autograd still counts the change, and complains where it matters.

    Wrong:
        def clip_and_learn(model, loss):
            loss.backward()
            for p in model.parameters():
                p.data.clamp_(-1, 1)

    Right:
        import torch
        def clip_and_learn(model, loss):
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p.clamp_(-1, 1)
    """
    for call in code.all(ast.Call):
        name, base = last(call.func), receiver(call)
        if (
            name.endswith("_")
            and not name.endswith("__")
            and last(base) == "data"
            and _differentiates(code, call)
        ):
            yield Found(call, f".data.{name} changes a tensor behind autograd's back")
    for assign in code.all(ast.AugAssign):
        if (
            last(assign.target) == "data"
            and isinstance(assign.target, ast.Attribute)
            and _differentiates(code, assign)
        ):
            yield Found(assign, ".data is changed in place, behind autograd's back")


def _differentiates(code: Reading, node: ast.AST) -> bool:
    function = code.function(node)
    if function is None:
        return False
    return function.name == "forward" or any(
        isinstance(n, ast.Call) and last(n.func) == "backward" for n in own(function)
    )
