"""Rules about reading files: what may be executed, what may be silently missing, which errors are hidden."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import (
    Reading,
    argument,
    dotted,
    is_constant,
    keyword,
    last,
    names,
    open_ended,
    own,
    parts,
    receiver,
)
from trueformer.doctor.lint.rule import Fix, Found, rule

UNPICKLERS = {
    *(f"{module}.load" for module in ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib")),
    *("pickle.Unpickler", "dill.Unpickler", "pandas.read_pickle", "shelve.open"),
}
READERS = {"load", "load_file", "load_state_dict", "from_pretrained", "load_checkpoint", "torch_load"}
FINDERS = {"listdir", "glob", "rglob", "iterdir", "scandir", "walk", "stat", "getmtime", "exists"}


@rule(
    "unsafe-load",
    words=("load",),
    statement="torch.load reads weights only, and says so.",
    source="PyTorch's serialization notes; findings R3.",
    looks="Calls of torch.load: what they say of weights_only.",
    tolerance="Silent where weights_only is True or is computed, or where arguments come in by **.",
    symptoms="None, until somebody sends a checkpoint that runs a program when it is opened.",
    causes="The code is older than torch 2.6, or False was set to quieten an error about an unknown class.",
    remedy="pass weights_only=True, or keep weights in safetensors",
)
def unsafe_load(code: Reading) -> Iterator[Found]:
    """A pickle is a program: whoever wrote the file decides what runs when it is opened.

    Wrong:
        import torch
        weights = torch.load("model.pt", weights_only=False)

    Right:
        import torch
        weights = torch.load("model.pt", weights_only=True)
    """
    for call in code.calls("load"):
        if code.name(call.func) != "torch.load" or open_ended(call):
            continue
        only = keyword(call, "weights_only")
        if is_constant(only, False):
            yield Found(call, "torch.load with weights_only=False runs whatever program the file holds")
        elif only is None:
            fix = Fix(at=call, kind="argument", name="weights_only", code="True")
            chosen = keyword(call, "pickle_module") or len(call.args) > 2
            message = (
                "torch.load without weights_only: before torch 2.6 it runs whatever program the file holds"
            )
            yield Found(call, message, None if chosen else fix)


@rule(
    "unpickle",
    words=("pickle", "dill", "joblib", "shelve"),
    statement="Nothing is unpickled from a file.",
    source="The warning at the head of Python's pickle documentation; findings R3.",
    looks="pickle, dill, cloudpickle, joblib and pandas reading a file, and NumPy with allow_pickle=True.",
    tolerance="Silent on bytes made in the same program (pickle.loads, a BytesIO).",
    symptoms="None, until a file from elsewhere runs a program when it is opened.",
    causes="Pickle is at hand and keeps any object.",
    remedy="keep tensors in safetensors, arrays in .npy without objects, the rest in JSON",
)
def unpickle(code: Reading) -> Iterator[Found]:
    """Reading a pickle runs it. Data has formats that hold only data.

    Wrong:
        import pickle
        with open("vocab.pkl", "rb") as file:
            vocab = pickle.load(file)

    Right:
        import json
        with open("vocab.json") as file:
            vocab = json.load(file)
    """
    for call in code.calls("load", "Unpickler", "read_pickle", "open"):
        full = code.name(call.func)
        if full in UNPICKLERS and call.args and not _in_memory(code, call.args[0]):
            yield Found(call, f"{full} runs whatever program the file holds")
        if full == "numpy.load" and is_constant(argument(call, 2, "allow_pickle"), True):
            yield Found(call, "numpy.load with allow_pickle=True runs whatever program the file holds")


def _in_memory(code: Reading, node: ast.expr) -> bool:
    made = [node]
    if isinstance(node, ast.Name):
        assigned = (n for n in own(code.scope(node)) if isinstance(n, ast.Assign))
        made = [n.value for n in assigned if any(dotted(target) == node.id for target in n.targets)]
    return any("BytesIO" in names(value) for value in made)


@rule(
    "ignored-mismatch",
    words=("load_state_dict",),
    statement="What load_state_dict(strict=False) left out is looked at.",
    source="torch.nn.Module.load_state_dict returns the missing and the unexpected keys; findings T10.",
    looks="Calls with strict=False whose result is thrown away.",
    tolerance="Silent where the result is used, or the function speaks of missing or unexpected keys, or adapters.",
    symptoms="A model that is partly at its random initialisation: worse than it was, and nothing says so.",
    causes="A renamed layer, a `module.` or `_orig_mod.` prefix, another architecture.",
    remedy="look at missing_keys and unexpected_keys of the result, or load strictly",
)
def ignored_mismatch(code: Reading) -> Iterator[Found]:
    """Not strict and not looked at means that nothing at all may have been loaded.

    Wrong:
        def restore(model, weights):
            model.load_state_dict(weights, strict=False)

    Right:
        def restore(model, weights):
            result = model.load_state_dict(weights, strict=False)
            if result.missing_keys != ["head.weight"]:
                raise ValueError(f"the checkpoint lacks {result.missing_keys}")
    """
    for call in code.calls("load_state_dict"):
        unused = isinstance(code.parent(call), ast.Expr)
        if unused and is_constant(argument(call, 1, "strict"), False) and not _looked_at(code, call):
            yield Found(call, "strict=False, and nobody looks at which weights were not loaded")


def _looked_at(code: Reading, call: ast.Call) -> bool:
    """Whether keys are compared by hand, adapters are meant to be missing, or an override hands the call on."""
    base, said = receiver(call), {part for name in names(code.scope(call)) for part in parts(name)}
    return bool({"missing", "unexpected", "lora", "adapter", "adapters"} & said) or (
        isinstance(base, ast.Call) and last(base.func) == "super"
    )


@rule(
    "swallowed-error",
    words=("except",),
    statement="An error while a checkpoint is looked for or read is not swallowed.",
    source="Findings T9 and T28.",
    looks="Broad handlers (bare, Exception, BaseException, OSError) around reading or finding checkpoints.",
    tolerance="Silent where the handler raises, says or uses anything; FileNotFoundError is an answer, "
    "no error.",
    symptoms="A permission or disk error looks like `no checkpoint`: training starts again from nothing.",
    causes="A handler that was meant for one missing file.",
    remedy="catch FileNotFoundError only, or say what went wrong and raise it again",
)
def swallowed_error(code: Reading) -> Iterator[Found]:
    """`No checkpoint` and `the disk is gone` must not end in the same branch.

    Wrong:
        import torch
        def resume(model, path):
            try:
                model.load_state_dict(torch.load(path, weights_only=True))
            except Exception:
                pass

    Right:
        import torch
        def resume(model, path):
            try:
                model.load_state_dict(torch.load(path, weights_only=True))
            except FileNotFoundError:
                print("no checkpoint: starting anew")
    """
    for attempt in code.all(ast.Try):
        if not _about_checkpoints(code, attempt):
            continue
        for handler in attempt.handlers:
            if _is_broad(handler) and _does_nothing(handler):
                kind = ast.unparse(handler.type) if handler.type else "everything"
                yield Found(handler, f"{kind} is swallowed where a checkpoint is looked for or read")


def _is_broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or last(kind) in ("Exception", "BaseException", "OSError", "IOError") for kind in kinds
    )


def _about_checkpoints(code: Reading, attempt: ast.Try) -> bool:
    called = {last(n.func) for s in attempt.body for n in ast.walk(s) if isinstance(n, ast.Call)}
    function = code.function(attempt)
    said = set().union(*(names(statement) for statement in attempt.body))
    words = {part for name in (*said, function.name if function else "") for part in parts(name)}
    checkpoint = words & {"checkpoint", "checkpoints", "ckpt", "ckpts"}
    return bool((checkpoint and called & (READERS | FINDERS | {"open"})) or "load_state_dict" in called)


def _does_nothing(handler: ast.ExceptHandler) -> bool:
    return all(
        isinstance(statement, ast.Pass | ast.Continue | ast.Break)
        or (isinstance(statement, ast.Return | ast.Assign | ast.Expr) and _is_plain(statement.value))
        for statement in handler.body
    )


def _is_plain(value: ast.expr | None) -> bool:
    return value is None or not any(isinstance(n, ast.Call | ast.Await) for n in ast.walk(value))
