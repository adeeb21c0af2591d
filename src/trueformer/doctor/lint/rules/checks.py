"""Rules about what a module checks: finite numbers, what a user passes in, heads that divide the width."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import Function, Reading, dotted, last, names, own, parameters, parts
from trueformer.doctor.lint.rule import Found, rule

FINITE = {"isfinite", "isnan", "isinf"}


@rule(
    "finite-assert",
    words=("isfinite", "isnan", "isinf"),
    statement="A forward pass does not stop at a number that is not finite.",
    source="Findings R1 and R7.",
    looks="In forward or __call__: an assert, or an `if` that raises, on isfinite, isnan or isinf.",
    tolerance="Silent on torch._assert_async, and on an `if` that repairs, such as clamping in float16.",
    symptoms="The run dies without saying where; each check waits for the device, 5 to 10 % of a step.",
    causes="A NaN was hunted once and the check stayed.",
    remedy="look once a step at the loss and the gradient norm, in the loop, and say which step it was",
)
def finite_assert(code: Reading) -> Iterator[Found]:
    """A layer cannot skip a batch, name the step or lower the loss scale; the loop can.

    Wrong:
        import torch
        class Block:
            def forward(self, x):
                assert torch.isfinite(x).all()
                return self.layers(x)

    Right:
        import torch
        class Block:
            def forward(self, x):
                return self.layers(x)

        def step(model, batch):
            loss = model(batch)
            if not torch.isfinite(loss):
                raise FloatingPointError("the loss is not finite")
    """
    for name in ("forward", "__call__"):
        for function in code.functions.get(name, ()):
            module = code.class_of(function)
            if module is None or (name == "__call__" and module not in code.modules):
                continue
            for node in own(function):
                stops = isinstance(node, ast.Assert) or (isinstance(node, ast.If) and _only_raises(node))
                if isinstance(node, ast.Assert | ast.If) and stops and names(node.test) & FINITE:
                    yield Found(
                        node,
                        "the forward pass stops at a number that is not finite, and waits for it each time",
                    )


def _only_raises(node: ast.If) -> bool:
    return isinstance(node.body[-1], ast.Raise)


@rule(
    "input-assert",
    words=("assert ",),
    statement="What a user passes in is refused by an exception, not by an assert.",
    source="The Python reference: `python -O` removes assert; design of this project.",
    looks="In __init__ of an nn.Module and of configurations: asserts that name parameters only.",
    tolerance="Silent on isinstance and `is not None`, on tensors' shapes, and in private functions.",
    symptoms="Under python -O a wrong size goes through and fails far away, or not at all.",
    causes="An assert is shorter.",
    remedy="raise ValueError with the value, what was expected and the remedy",
    advice=True,
)
def input_assert(code: Reading) -> Iterator[Found]:
    """An assert is for what cannot happen; a user's mistake can.

    Wrong:
        from torch import nn
        class Attention(nn.Module):
            def __init__(self, width, heads):
                super().__init__()
                assert width % heads == 0

    Right:
        from torch import nn
        class Attention(nn.Module):
            def __init__(self, width, heads):
                super().__init__()
                if width % heads:
                    raise ValueError(f"width is {width}: expected a multiple of heads, {heads}")
    """
    for check in code.all(ast.Assert):
        function, module = code.function(check), code.class_of(check)
        if function is None or module is None or not _takes_input(code, function, module):
            continue
        given = set(parameters(function)) - ({"self"} if function.name == "__init__" else set())
        if _names_only(check.test, given) and not names(check.test) & {
            "isinstance",
            "shape",
            "size",
            "ndim",
            "dim",
        }:
            yield Found(check, "an assert guards what a user passes in; python -O removes it")


def _takes_input(code: Reading, function: Function, module: ast.ClassDef) -> bool:
    config = module.name.endswith(("Config", "Args", "Options"))
    return function.name in ("__init__", "__post_init__") and (config or module in code.modules)


def _names_only(test: ast.expr, given: set[str]) -> bool:
    used = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}
    compares = any(
        isinstance(n, ast.Compare) and not isinstance(n.ops[0], ast.Is | ast.IsNot) for n in ast.walk(test)
    )
    return compares and bool(used) and used <= given | {"len", "int", "float", "abs", "min", "max"}


@rule(
    "heads-unchecked",
    words=("//",),
    statement="A width that is divided into heads is a multiple of them.",
    source="Finding R6.",
    looks="`width // heads` of two parameters, in the __init__ of an nn.Module that never looks at the "
    "remainder.",
    tolerance="Silent where % or divmod appears in the class, where projections are sized heads × "
    "head_dim, and on "
    "fields of a configuration, which may look at them itself.",
    symptoms="Channels are dropped, or a reshape fails far from the cause.",
    causes="Integer division rounds down without a word.",
    remedy="raise ValueError when width % heads is not 0",
    advice=True,
)
def heads_unchecked(code: Reading) -> Iterator[Found]:
    """100 // 12 is 8, and 12 heads of 8 are 96 channels.

    Wrong:
        from torch import nn
        class Attention(nn.Module):
            def __init__(self, width, n_heads):
                super().__init__()
                self.head_dim = width // n_heads
                self.query = nn.Linear(width, width)

    Right:
        from torch import nn
        class Attention(nn.Module):
            def __init__(self, width, n_heads):
                super().__init__()
                if width % n_heads:
                    raise ValueError(f"width is {width}: expected a multiple of {n_heads}")
                self.head_dim = width // n_heads
                self.query = nn.Linear(width, width)
    """
    for division in code.all(ast.BinOp):
        if not isinstance(division.op, ast.FloorDiv) or "heads" not in parts(last(division.right)):
            continue
        module, function = code.class_of(division), code.function(division)
        inside = module in code.modules and function is not None and function.name == "__init__"
        if module is None or function is None or not inside or {"kv", "groups"} & _words(division):
            continue
        ours = _is_given(function, division.left) and _is_given(function, division.right)
        if ours and code.statement(division) is code.parent(division) and not _heads_checked(module):
            yield Found(division, f"{ast.unparse(division)} rounds down, and nothing looks at the remainder")


def _is_given(function: Function, node: ast.expr) -> bool:
    """Whether a value is a parameter as it came in, also when kept on self before."""
    kept = [
        n.value for n in own(function) if isinstance(n, ast.Assign) and dotted(n.targets[0]) == dotted(node)
    ]
    return dotted(kept[0] if kept else node) in parameters(function)


def _words(node: ast.AST) -> set[str]:
    return {part for name in names(node) for part in parts(name)}


def _heads_checked(module: ast.ClassDef) -> bool:
    for node in ast.walk(module):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            return True
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            words = _words(node)
            if "heads" in words and ("head" in words or "dim" in words):
                return True
        if isinstance(node, ast.Call) and last(node.func) == "divmod":
            return True
    return False
