"""Rules about gradients: cleared every step, averaged when accumulated, not kept alive by a running total."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.loops import is_backward, is_optimizer, optimizer_steps, within
from trueformer.doctor.lint.reading import Loop, Reading, dotted, last, names, own, parts, receiver
from trueformer.doctor.lint.rule import Fix, Found, rule

ACCUMULATION = {"accum", "accumulation", "accumulate", "accumulating", "micro", "microbatch", "microbatches"}


@rule(
    "zero-grad",
    words=("backward",),
    statement="Gradients are cleared between steps.",
    source="torch.optim.Optimizer.zero_grad.",
    looks="Loops with backward and an optimizer's step, and the file's functions that they call.",
    tolerance="Silent on zero_grad on anything, p.grad = None, grad.zero_(), del p.grad, and where the "
    "optimizer is "
    "handed to a function that is not in the file, or built anew.",
    symptoms="Every step uses the sum of all gradients so far: training drifts or diverges.",
    causes="backward adds to .grad.",
    remedy="optimizer.zero_grad() once a step",
)
def zero_grad(code: Reading) -> Iterator[Found]:
    """backward adds; nobody takes away.

    Wrong:
        def train(batches, loss_of, optimizer):
            for batch in batches:
                loss_of(batch).backward()
                optimizer.step()

    Right:
        def train(batches, loss_of, optimizer):
            for batch in batches:
                optimizer.zero_grad()
                loss_of(batch).backward()
                optimizer.step()
    """
    for step in optimizer_steps(code):
        where = _repeated(code, step)
        if where is None:
            continue
        nodes = list(code.reached(where))
        excused = any(_clears(n) or _escapes(code, n) or _builds(n, receiver(step)) for n in nodes)
        if any(map(is_backward, nodes)) and not excused:
            yield Found(
                step, "nothing clears the gradients between steps: each step uses the sum of all so far"
            )


def _repeated(code: Reading, step: ast.Call) -> ast.AST | None:
    """The loop around a step; else the loop around a call of the function that steps."""
    if loops := code.loops(step):
        return loops[0]
    function = code.function(step)
    callers = [] if function is None else list(code.calls(function.name))
    return next((loops[0] for call in callers if (loops := code.loops(call))), None)


def _clears(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        words = parts(last(node.func))
        return last(node.func) == "zero_" or (
            any(word.startswith("grad") for word in words)
            and bool({"zero", "clear", "reset", "none"} & set(words))
        )
    if isinstance(node, ast.Assign | ast.Delete):
        return any(last(target) == "grad" for target in node.targets)
    return False


def _builds(node: ast.AST, optimizer: ast.expr | None) -> bool:
    """Whether the optimizer is built anew within the loop."""
    return isinstance(node, ast.Assign) and dotted(optimizer) in map(dotted, node.targets)


def _escapes(code: Reading, node: ast.AST) -> bool:
    """Whether an optimizer is handed to code that cannot be seen here."""
    if not isinstance(node, ast.Call) or is_optimizer(receiver(node)) or last(node.func) in code.functions:
        return False
    return any(is_optimizer(arg) for arg in [*node.args, *(given.value for given in node.keywords)])


@rule(
    "accumulation",
    words=("backward",),
    statement="Accumulated gradients are an average, not a sum.",
    source="Finding N4. Divide by the count of target tokens, by steps only where all hold as many.",
    looks="backward in a micro-batch loop, or a step every so many batches, with the loss as it is.",
    tolerance="Silent where anything near is divided or multiplied by the count, where the loss is a "
    "sum, and under "
    "frameworks that scale by themselves.",
    symptoms="The gradient grows with the number of micro-batches: so does the effective learning rate.",
    causes="backward adds the gradients of means; a large batch would have averaged them.",
    remedy="divide the loss by the number of micro-batches, or better by the tokens of the whole batch",
)
def accumulation(code: Reading) -> Iterator[Found]:
    """Four means added are four times a mean.

    Wrong:
        def step(get_batch, loss_of, optimizer, accumulation_steps):
            for _ in range(accumulation_steps):
                loss = loss_of(get_batch())
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    Right:
        def step(get_batch, loss_of, optimizer, accumulation_steps):
            for _ in range(accumulation_steps):
                loss = loss_of(get_batch()) / accumulation_steps
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    """
    steps = list(optimizer_steps(code))
    for backward in filter(is_backward, code.calls("backward")):
        loops = code.loops(backward)
        if not loops:
            continue
        count = _micro_count(loops[0]) if not any(within(code, s, loops[0]) for s in steps) else None
        stepped = any(code.scope(s) is code.scope(backward) for s in steps)
        count = (count if stepped else None) or _modulus(code, loops[0], backward, steps)
        if count is not None and not _normalised(code, loops[0], count):
            yield Found(backward, f"the loss is not divided by {ast.unparse(count)}: the gradients add up")


def _micro_count(loop: Loop) -> ast.expr | None:
    """How many micro-batches a loop runs over, where its names say that it does."""
    if isinstance(loop, ast.While):
        return None
    words = {part for name in names(loop.target) | names(loop.iter) for part in parts(name)}
    if not words & ACCUMULATION or not isinstance(loop.iter, ast.Call) or last(loop.iter.func) != "range":
        return None
    return loop.iter.args[-1] if len(loop.iter.args) == 1 else None


def _modulus(code: Reading, loop: Loop, backward: ast.Call, steps: list[ast.Call]) -> ast.expr | None:
    """The N of `if (i + 1) % N == 0: optimizer.step()` in the loop of a backward."""
    for step in steps:
        for outer in code.around(step):
            if outer is loop:
                break
            if isinstance(outer, ast.If) and not within(code, backward, outer) and within(code, outer, loop):
                for node in ast.walk(outer.test):
                    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
                        return node.right
    return None


def _normalised(code: Reading, loop: Loop, count: ast.expr) -> bool:
    """Whether the loss or the gradients are scaled by anything, or the count goes where it cannot be seen."""
    function = code.function(loop)
    said = names(function) if function else names(code.tree)
    if {"accumulate", "reduction", "scale_grads", "scale_grads_"} & said or "_foreach_div_" in said:
        return True
    for node in own(loop):
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div | ast.Mult):
            return True
        if isinstance(node, ast.Call) and last(node.func) in ("div", "div_", "mul", "mul_"):
            return True
        if isinstance(node, ast.Call) and last(node.func) != "range":
            handed = [*node.args, *(given.value for given in node.keywords)]
            if any(dotted(arg) and dotted(arg) == dotted(count) for arg in handed):
                return True
    return any(
        isinstance(n, ast.AugAssign) and last(n.target) == "grad" for n in ast.walk(function or code.tree)
    )


@rule(
    "loss-graph",
    words=("backward",),
    statement="A running total of losses holds numbers, not graphs.",
    source="PyTorch's FAQ: do not accumulate history across your training loop.",
    looks="`total += loss` in a loop that also runs loss.backward().",
    tolerance="Silent where the total itself is differentiated, or the loss was detached.",
    symptoms="Memory grows by a little every step, until the epoch ends or the device is full.",
    causes="A loss looks like a number.",
    remedy="add loss.detach(), or loss.item() where waiting for the device does not matter",
)
def loss_graph(code: Reading) -> Iterator[Found]:
    """The sum remembers how it came about: one node more for every step.

    Wrong:
        def train(batches, loss_of, optimizer):
            total = 0.0
            for batch in batches:
                optimizer.zero_grad()
                loss = loss_of(batch)
                loss.backward()
                optimizer.step()
                total += loss
            return total

    Right:
        def train(batches, loss_of, optimizer):
            total = 0.0
            for batch in batches:
                optimizer.zero_grad()
                loss = loss_of(batch)
                loss.backward()
                optimizer.step()
                total += loss.item()
            return total
    """
    differentiated = {name for call in code.calls("backward") for name in _differentiated(call)}
    for addition in code.all(ast.AugAssign):
        loops = code.loops(addition)
        loss, total = addition.value, dotted(addition.target)
        if not isinstance(addition.op, ast.Add) or not loops or not isinstance(loss, ast.Name):
            continue
        same = [call for call in code.calls("backward") if within(code, call, loops[0])]
        backward = any(loss.id in _differentiated(call) for call in same)
        if backward and total not in differentiated and not _rebound(loops[0], loss.id):
            fix = Fix(at=loss, kind="expression", code=f"{loss.id}.detach()")
            yield Found(addition, f"{total} keeps the graph of every {loss.id} alive", fix)


def _differentiated(call: ast.Call) -> set[str]:
    """The losses of x.backward(), scaler.scale(x).backward() and accelerator.backward(x)."""
    base = receiver(call)
    found = {dotted(arg) for arg in call.args}
    if isinstance(base, ast.Call):
        found |= {dotted(arg) for arg in base.args} | {dotted(receiver(base))}
    if isinstance(base, ast.BinOp):
        found |= {dotted(base.left), dotted(base.right)}
    return (found | {dotted(base)}) - {""}


def _rebound(loop: Loop, name: str) -> bool:
    """Whether the name is given a detached value in the loop."""
    plain = {"detach", "item", "float", "tolist", "no_grad", "all_reduce", "gather", "reduce_tensor"}
    return any(
        isinstance(n, ast.Assign) and any(dotted(t) == name for t in n.targets) and names(n.value) & plain
        for n in own(loop)
    )
