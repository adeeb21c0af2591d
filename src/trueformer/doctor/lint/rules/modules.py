"""Rules about nn.Module: tensors and layers it does not know of, asserts in its forward pass, ties that do not hold."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import Function, Reading, dotted, last, names, own, parts, receiver
from trueformer.doctor.lint.rule import Fix, Found, rule

MAKERS = {
    *("arange", "linspace", "logspace", "zeros", "ones", "full", "empty", "eye", "rand", "randn", "randint"),
    *("tril_indices", "triu_indices", "from_numpy", "hann_window", "zeros_like", "ones_like"),
}
PLAIN = {"item", "tolist", "numpy", "size", "dim", "numel", "stride", "shape", "dtype", "device", "ndim", "cpu_list"}
FINITE = {"isfinite", "isnan", "isinf"}


@rule(
    "plain-tensor",
    words=("Module",),
    statement="A tensor that a module keeps is a parameter or a buffer.",
    source="torch.nn.Module.register_buffer; finding A3.",
    looks="`self.name = torch....` in the __init__ of an nn.Module.",
    tolerance="Silent on single numbers, and where the class registers, moves or removes it by itself.",
    symptoms="After .to(device) or .to(dtype) the table is left behind: an error, or silently another precision.",
    causes="A table of cosines, positions or a mask was assigned like any other attribute.",
    remedy='self.register_buffer("name", tensor, persistent=False)',
)
def plain_tensor(code: Reading) -> Iterator[Found]:
    """A module moves what it knows of: its parameters and buffers.

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


def _assignments(init: Function) -> list[ast.Assign]:
    return sorted((n for n in own(init) if isinstance(n, ast.Assign)), key=lambda n: n.lineno)


def _pairs(assign: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each target with its value; `a, b = x, y` is two."""
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
        inner = [e for arg in call.args for e in (arg.elts if isinstance(arg, ast.List | ast.Tuple) else [arg])]
        return name not in PLAIN and name[:1].islower() and any(_is_tensor(code, arg, tensors) for arg in inner)
    base = receiver(call)
    known = base is not None and last(call.func) not in PLAIN
    return known and last(call.func) not in ("max", "min", "sum", "mean") and _is_tensor(code, base, tensors)


def _is_scalar_shape(call: ast.Call) -> bool:
    """torch.zeros(()) and torch.zeros([]): one number, which mixes with any device."""
    return bool(call.args) and isinstance(call.args[0], ast.Tuple | ast.List) and not call.args[0].elts


def _is_managed(code: Reading, module: ast.ClassDef, name: str) -> bool:
    """Whether the class registers the attribute, assigns it again, or moves it where it is used."""
    for node in ast.walk(module):
        if isinstance(node, Function) and node.name in ("_apply", "to", "__setattr__"):
            return True
        if isinstance(node, ast.Attribute) and node.attr == name:
            outer = code.parent(node)
            if isinstance(node.ctx, ast.Del) or last(outer) in ("to", "type_as", "cuda", "tolist", "numpy", "item"):
                return True
        if isinstance(node, ast.Call) and last(node.func) in ("register_buffer", "register_parameter", "setattr"):
            if any(isinstance(arg, ast.Constant) and arg.value == name for arg in node.args):
                return True
    return False


def _kept(module: ast.ClassDef, assign: ast.Assign, target: ast.expr) -> Found:
    name = last(target)
    stores = [n for n in ast.walk(module) if isinstance(n, ast.Attribute) and n.attr == name]
    once = sum(isinstance(n.ctx, ast.Store) for n in stores) == 1
    started = [n for n in ast.walk(module) if isinstance(n, ast.Call) and last(n.func) == "super"]
    after = any(n.lineno < assign.lineno for n in started)
    simple = len(assign.targets) == 1 and assign.targets[0] is target and once and after
    fix = Fix(at=assign, kind="buffer", name=name) if simple else None
    return Found(assign, f"self.{name} is a plain tensor: .to(device) and .to(dtype) leave it behind", fix)


@rule(
    "plain-list",
    words=("Module",),
    statement="Layers that a module keeps in a list or a dictionary are registered.",
    source="torch.nn.ModuleList and ModuleDict.",
    looks="`self.name = [Layer(...), ...]` in an nn.Module, of torch's layers or of modules in the same file.",
    tolerance="Silent where the class hands the list to ModuleList, Sequential, add_module or setattr.",
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
    for module in code.modules:
        for assign in (n for n in ast.walk(module) if isinstance(n, ast.Assign)):
            target = assign.targets[0]
            if dotted(target).startswith("self.") and any(map(lambda e: _is_layer(code, e), _elements(assign.value))):
                if not _registered(module, last(target)):
                    yield Found(assign, f"self.{last(target)} keeps layers in a plain collection: they are not trained")


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
        return name[:1].isupper() and name not in ("Parameter", "Buffer")
    return not module and any(found.name == name for found in code.modules)


def _registered(module: ast.ClassDef, name: str) -> bool:
    """Whether the collection is given to something that registers what is in it."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and last(node.func) in ("ModuleList", "Sequential", "ModuleDict"):
            if name in names(node):
                return True
        if isinstance(node, ast.Call) and last(node.func) in ("add_module", "register_module", "setattr"):
            return True
    return False


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
            if code.class_of(function) is None:
                continue
            for node in own(function):
                stops = isinstance(node, ast.Assert) or (isinstance(node, ast.If) and _only_raises(node))
                if isinstance(node, ast.Assert | ast.If) and stops and names(node.test) & FINITE:
                    yield Found(node, "the forward pass stops at a number that is not finite, and waits for it each time")


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
        given = {arg.arg for arg in (*function.args.args, *function.args.kwonlyargs)}
        if _names_only(check.test, given) and not names(check.test) & {"isinstance", "shape", "size", "ndim", "dim"}:
            yield Found(check, "an assert guards what a user passes in; python -O removes it")


def _takes_input(code: Reading, function: Function, module: ast.ClassDef) -> bool:
    config = module.name.endswith(("Config", "Args", "Options"))
    return function.name in ("__init__", "__post_init__") and (config or module in code.modules)


def _names_only(test: ast.expr, given: set[str]) -> bool:
    used = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}
    compares = any(isinstance(n, ast.Compare) and not isinstance(n.ops[0], ast.Is | ast.IsNot) for n in ast.walk(test))
    return compares and bool(used) and used <= given | {"len", "int", "float", "abs", "min", "max"}


@rule(
    "tie-by-data",
    words=(".data",),
    statement="Tied weights are one parameter.",
    source="Finding R11; Press and Wolf 2017 for tying itself.",
    looks="`a.weight.data = b.weight.data`.",
    tolerance="Silent on copies (copy_, clone) and on assigning the parameter itself.",
    symptoms="Two parameters share memory until one is moved, rebuilt or loaded; both are decayed and counted.",
    causes=".data looks like the weight, but it is only its storage.",
    remedy="assign the parameter: head.weight = embedding.weight, in a method that is called again after loading",
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
        if dotted(target).endswith(".weight.data") and dotted(value).endswith(".weight.data"):
            yield Found(assign, "the storage is shared, not the parameter: the tie is lost by .to(), deepcopy or loading")


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
        if name.endswith("_") and not name.endswith("__") and last(base) == "data" and _differentiates(code, call):
            yield Found(call, f".data.{name} changes a tensor behind autograd's back")
    for assign in code.all(ast.AugAssign):
        if last(assign.target) == "data" and isinstance(assign.target, ast.Attribute) and _differentiates(code, assign):
            yield Found(assign, ".data is changed in place, behind autograd's back")


def _differentiates(code: Reading, node: ast.AST) -> bool:
    function = code.function(node)
    if function is None:
        return False
    return function.name == "forward" or any(
        isinstance(n, ast.Call) and last(n.func) == "backward" for n in own(function)
    )


@rule(
    "heads-unchecked",
    words=("//",),
    statement="A width that is divided into heads is a multiple of them.",
    source="Finding R6.",
    looks="`width // heads` in the __init__ of an nn.Module that never looks at the remainder.",
    tolerance="Silent where % or divmod appears in the class, or where projections are sized heads × head_dim.",
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
        kept = isinstance(statement := code.statement(division), ast.Assign) and statement.value is division
        if module and inside and kept and not {"kv", "groups"} & _words(division) and not _heads_checked(module):
            yield Found(division, f"{ast.unparse(division)} rounds down, and nothing looks at the remainder")


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


