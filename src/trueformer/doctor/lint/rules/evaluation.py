"""Rules about evaluation: without gradients, in evaluation mode, and back to training afterwards."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.loops import TEACHERS, is_backward
from trueformer.doctor.lint.reading import (
    Function,
    Reading,
    dotted,
    is_constant,
    last,
    names,
    own,
    parts,
    receiver,
)
from trueformer.doctor.lint.rule import Fix, Found, rule

EVALUATES = {"evaluate", "validate", "eval", "validation", "val", "evaluation"}
AROUND = {
    "epoch",
    "loop",
    "loss",
    "model",
    "step",
    "one",
    "run",
    "all",
    "the",
    "on",
    "perplexity",
    "ppl",
    "set",
    "net",
}
NO_GRAD = {"no_grad", "inference_mode", "set_grad_enabled", "enable_grad", "requires_grad_"}
MODELS = {"model", "net", "network", "transformer", "gpt", "lm"}


def _evaluations(code: Reading) -> Iterator[tuple[Function, ast.Call]]:
    """The functions whose name says that they evaluate, with the first call of a model in their loops."""
    for name, functions in code.functions.items():
        words = parts(name)
        known = bool(words) and (words[0] in EVALUATES or words[:2] == ["estimate", "loss"])
        for function in functions if known and set(words[1:]) <= EVALUATES | AROUND else []:
            calls = (n for n in own(function) if isinstance(n, ast.Call) and _is_model(n.func))
            looped = [call for call in calls if code.loops(call) or _in_comprehension(code, call)]
            if looped:
                yield function, min(looped, key=lambda call: call.lineno)


def _is_model(node: ast.AST | None) -> bool:
    """Whether a name says that it is the model: `model`, `self.model`, `raw_model`."""
    words = parts(last(node))
    return bool(words) and words[-1] in MODELS and not TEACHERS & set(words)


def _in_comprehension(code: Reading, node: ast.AST) -> bool:
    kinds = ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp
    return any(isinstance(outer, kinds) for outer in code.around(node))


@rule(
    "eval-grad",
    words=("eval", "valid", "val_", "estimate_loss"),
    statement="Evaluation records no graph.",
    source="torch.no_grad and torch.inference_mode.",
    looks="Functions named as evaluations that call a model in a loop.",
    tolerance="Silent where gradients are spoken of in the function, or where it is called under no_grad.",
    symptoms="Evaluation needs the memory of training: it fails on batches that train.",
    causes="model.eval() is taken for it; it only switches dropout and batch norm.",
    remedy="decorate it with @torch.no_grad()",
)
def eval_grad(code: Reading) -> Iterator[Found]:
    """eval() and no_grad() are two different things, and evaluation wants both.

    Wrong:
        import torch
        def evaluate(model, batches):
            model.eval()
            losses = [model(batch).item() for batch in batches]
            model.train()
            return sum(losses) / len(losses)

    Right:
        import torch
        @torch.no_grad()
        def evaluate(model, batches):
            model.eval()
            losses = [model(batch).item() for batch in batches]
            model.train()
            return sum(losses) / len(losses)
    """
    for function, call in _evaluations(code):
        said = names(function)
        speaks = said & NO_GRAD or "backward" in said or "autograd" in said
        if not speaks and not any(_without_gradients(code, used) for used in code.calls(function.name)):
            certain = any(name.name == "torch" for node in code.all(ast.Import) for name in node.names)
            fix = Fix(at=function, kind="decorator", code="torch.no_grad()")
            yield Found(call, f"{function.name} calls the model with gradients", fix if certain else None)


def _without_gradients(code: Reading, call: ast.Call) -> bool:
    for outer in code.around(call):
        if isinstance(outer, ast.With) and any(names(item.context_expr) & NO_GRAD for item in outer.items):
            return True
        if isinstance(outer, Function) and any(names(mark) & NO_GRAD for mark in outer.decorator_list):
            return True
    return False


@rule(
    "eval-mode",
    words=("eval", "valid", "val_", "estimate_loss"),
    statement="Evaluation runs in evaluation mode.",
    source="torch.nn.Module.eval.",
    looks="Files that train and have a function named as an evaluation, and nowhere an eval().",
    tolerance="Silent if eval() or train(False) is called anywhere in the file, or gradients are needed.",
    symptoms="Dropout is on while the loss is measured: it is too high, and differs from time to time.",
    causes="no_grad is taken for it; it only stops recording.",
    remedy="model.eval() before, model.train() after",
)
def eval_mode(code: Reading) -> Iterator[Found]:
    """no_grad() does not switch dropout off.

    Wrong:
        import torch
        @torch.no_grad()
        def evaluate(model, batches):
            return sum(model(batch).item() for batch in batches)
        def learn(model, batch, optimizer):
            optimizer.zero_grad()
            model(batch).backward()
            optimizer.step()

    Right:
        import torch
        @torch.no_grad()
        def evaluate(model, batches):
            model.eval()
            total = sum(model(batch).item() for batch in batches)
            model.train()
            return total
        def learn(model, batch, optimizer):
            optimizer.zero_grad()
            model(batch).backward()
            optimizer.step()
    """
    if not any(map(is_backward, code.calls("backward"))) or any(map(_sets_eval, code.all(ast.Call))):
        return
    for function, call in _evaluations(code):
        if "backward" not in names(function):
            yield Found(call, f"{function.name} measures the model in training mode: dropout is on")


def _sets_eval(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or receiver(node) is None:
        return False
    name = last(node.func)
    off = name == "train" and bool(node.args) and not is_constant(node.args[0], True)
    return off or (name == "eval" and not node.args) or "eval_mode" in name or name == "evaluating"


@rule(
    "stuck-eval",
    words=(".eval()",),
    statement="After an evaluation the model goes back to training.",
    source="torch.nn.Module.train.",
    looks="Loops that train and evaluate the model, with the file's functions that they call.",
    tolerance="Silent where anything in the loop calls train(); teachers and reference models may stay.",
    symptoms="From the first evaluation on there is no dropout: the model overfits earlier.",
    causes="train() was called once, before the loop.",
    remedy="model.train() after the evaluation, or at the head of each epoch",
)
def stuck_eval(code: Reading) -> Iterator[Found]:
    """A mode stays until somebody changes it.

    Wrong:
        def train(model, epochs, learn, measure):
            model.train()
            for epoch in range(epochs):
                learn(model).backward()
                model.eval()
                measure(model)

    Right:
        def train(model, epochs, learn, measure):
            for epoch in range(epochs):
                model.train()
                learn(model).backward()
                model.eval()
                measure(model)
    """
    seen: set[ast.AST] = set()
    for loop in code.all(ast.For, ast.AsyncFor, ast.While):
        if code.loops(loop):
            continue  # the outermost loop says whether the mode ever changes back
        nodes = list(code.reached(loop))
        if not any(map(is_backward, nodes)) or any(_trains(code, node) for node in nodes):
            continue
        for node in nodes:
            if node not in seen and isinstance(node, ast.Call) and _stays(node):
                seen.add(node)
                yield Found(
                    node,
                    f"{dotted(receiver(node))} stays in evaluation mode: nothing in the loop calls train()",
                )


def _stays(call: ast.Call) -> bool:
    return last(call.func) == "eval" and not call.args and _is_model(receiver(call))


def _trains(code: Reading, node: ast.AST) -> bool:
    """model.train(), also with a variable; and a `train` of another file, which may do anything."""
    if not isinstance(node, ast.Call):
        return False
    name = last(node.func)
    return name in ("train", "set_mode", "train_mode") and (
        receiver(node) is not None or name not in code.functions
    )
