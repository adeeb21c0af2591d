"""What rules about training loops share: which call steps an optimizer, and what comes before what.

The kind of an object is told by its name, as a reader would: `optimizer`, `opt`, `self.optim`; `scheduler`,
`lr_sched`.
"""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import Function, Loop, Reading, last, parts, receiver

CLIPS = ("clip_grad_norm_", "clip_grad_value_", "clip_grad_norm", "clip_grad_value")
TEACHERS = {
    "teacher",
    "ref",
    "reference",
    "target",
    "ema",
    "frozen",
    "old",
    "reward",
    "critic",
    "judge",
    "base",
}


def is_optimizer(node: ast.AST | None) -> bool:
    """Whether a name says that it is an optimizer (or the scaler that steps it)."""
    words = set(parts(last(node)))
    named = any(word in ("opt", "optim", "optimiser", "optimizer", "optimizers", "optims") for word in words)
    return (named or "scaler" in words) and not is_schedule(node)


def is_schedule(node: ast.AST | None) -> bool:
    """Whether a name says that it is a learning-rate schedule."""
    return any(word in ("scheduler", "schedule", "sched", "schedulers", "lr") for word in parts(last(node)))


def optimizer_steps(code: Reading) -> Iterator[ast.Call]:
    """The calls that apply gradients: optimizer.step(), scaler.step(optimizer)."""
    return (call for call in code.calls("step") if is_optimizer(receiver(call)))


def schedule_steps(code: Reading) -> Iterator[ast.Call]:
    """The calls that move a schedule on by one."""
    return (call for call in code.calls("step") if is_schedule(receiver(call)))


def is_backward(node: ast.AST) -> bool:
    """Whether a node is loss.backward(): frameworks that take the loss as an argument look after the rest."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "backward"
        and not node.args
        and last(node.func.value) not in ("accelerator", "fabric", "engine", "manager", "ctx")
    )


def within(code: Reading, node: ast.AST, outer: ast.AST) -> bool:
    """Whether a node stands inside another."""
    return any(around is outer for around in code.around(node))


def exclusive(code: Reading, one: ast.AST, other: ast.AST) -> bool:
    """Whether two nodes stand in different branches of an `if`, `try` or `match`."""
    branches = dict(_branches(code, one))
    return any(branches.get(fork, branch) != branch for fork, branch in _branches(code, other))


def _branches(code: Reading, node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    for outer in code.around(node):
        if isinstance(outer, ast.If | ast.IfExp | ast.Try):
            for field in ("test", "body", "orelse", "handlers", "finalbody"):
                value = getattr(outer, field, None)
                if value is node or (isinstance(value, list) and any(item is node for item in value)):
                    yield outer, field
        elif isinstance(outer, ast.Match):
            yield outer, str(next((i for i, case in enumerate(outer.cases) if case is node), -1))
        node = outer


def common(code: Reading, one: ast.AST, other: ast.AST) -> Loop | Function | ast.Module | None:
    """The innermost loop around both within one function; the function where no loop holds both."""
    if code.scope(one) is not code.scope(other):
        return None
    shared = [loop for loop in code.loops(one) if loop in code.loops(other)]
    return shared[0] if shared else code.scope(one)
