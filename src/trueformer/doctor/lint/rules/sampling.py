"""Rules about sampling: the nucleus that loses its last token, a temperature nobody looked at."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import Reading, dotted, is_constant, last, names, own, parameters, parts
from trueformer.doctor.lint.rule import Found, rule

MOVES = ("roll", "pad", "cat", "concat", "flip", "searchsorted")
LIMITS = {"top_p", "topp", "nucleus", "nucleus_p", "p"}


@rule(
    "nucleus-too-small",
    words=("cumsum",),
    statement="The token that crosses p belongs to the nucleus.",
    source="Holtzman et al. 2020: the smallest set whose mass reaches p; finding T7.",
    looks="A comparison of the running sum of probabilities with p that is used as it is.",
    tolerance="Silent where it is shifted by one, where the token's own mass is taken off, and on "
    "ascending sums.",
    symptoms="Text is duller than p says; with p below the greatest probability nothing is left at all.",
    causes="The shift looks like a mistake of one, and was repaired.",
    remedy="remove where cumulative - probability > p",
)
def nucleus_too_small(code: Reading) -> Iterator[Found]:
    """Probabilities 0.5, 0.3, 0.2 with p = 0.6: the nucleus is the first two; one alone does not reach it.

    Wrong:
        import torch
        def nucleus(sorted_probs, top_p):
            cumulative = torch.cumsum(sorted_probs, dim=-1)
            remove = cumulative > top_p
            return sorted_probs.masked_fill(remove, 0.0)

    Right:
        import torch
        def nucleus(sorted_probs, top_p):
            cumulative = torch.cumsum(sorted_probs, dim=-1)
            remove = cumulative - sorted_probs > top_p
            return sorted_probs.masked_fill(remove, 0.0)
    """
    for compare in code.all(ast.Compare):
        function = code.function(compare)
        if function is None or len(compare.ops) != 1 or last(compare.comparators[0]) not in LIMITS:
            continue
        if (
            _is_sum(compare.left, function)
            and _is_mask(code, compare)
            and not _shifted(code, function, compare)
        ):
            yield Found(compare, f"{ast.unparse(compare)} drops the token that crosses p from the nucleus")


def _is_sum(left: ast.expr, function: ast.AST) -> bool:
    """Whether a value is a running sum as it is: a call of cumsum, or a name that was given one."""
    if isinstance(left, ast.Call):
        return last(left.func) == "cumsum"
    made = [n.value for n in own(function) if isinstance(n, ast.Assign) and _assigns(n, dotted(left))]
    return (
        bool(dotted(left))
        and bool(made)
        and all(isinstance(v, ast.Call) and last(v.func) == "cumsum" for v in made)
    )


def _assigns(assign: ast.Assign, name: str) -> bool:
    return any(dotted(target) == name for target in assign.targets)


def _is_mask(code: Reading, compare: ast.Compare) -> bool:
    """Whether the comparison itself says which tokens go: given a name, or to an index or a fill."""
    outer = code.parent(compare)
    if isinstance(outer, ast.Subscript):
        return outer.slice is compare
    if isinstance(outer, ast.Assign | ast.UnaryOp):
        return True
    return isinstance(outer, ast.Call) and last(outer.func) in ("masked_fill", "masked_fill_", "where")


def _shifted(code: Reading, function: ast.AST, compare: ast.Compare) -> bool:
    """Whether the mask or the sum is moved by one place: sliced `1:` or `:-1`, rolled, padded; or ascends."""
    statement = code.statement(compare)
    about = {dotted(compare.left)} | set(map(dotted, getattr(statement, "targets", []))) - {""}
    for node in own(function):
        if isinstance(node, ast.Subscript) and dotted(node.value) in about and _is_shift(node.slice):
            return True
        if isinstance(node, ast.Call) and last(node.func) in MOVES and names(node) & about:
            return True
        if isinstance(node, ast.keyword) and node.arg == "descending" and is_constant(node.value, False):
            return True
    return False


def _is_shift(index: ast.expr) -> bool:
    slices = [n for n in ast.walk(index) if isinstance(n, ast.Slice)]
    return any(_is_one(each.lower) or isinstance(each.upper, ast.UnaryOp) for each in slices)


def _is_one(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value == 1


@rule(
    "temperature",
    words=("temperature",),
    statement="A temperature is looked at before it divides.",
    source="Finding T19.",
    looks="Functions that sample or generate, with a parameter `temperature` that divides and is never "
    "compared.",
    tolerance="Silent where it is compared, limited or tested in any way.",
    symptoms="Zero gives NaN or an error, a negative one prefers the least likely tokens.",
    causes="Greedy decoding is often asked for as temperature 0.",
    remedy="refuse temperatures below 0, and take the argmax at 0",
    advice=True,
)
def temperature(code: Reading) -> Iterator[Found]:
    """Dividing by zero is the usual wish of whoever wants no randomness.

    Wrong:
        import torch
        def sample(logits, temperature=1.0):
            return torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1)

    Right:
        import torch
        def sample(logits, temperature=1.0):
            if temperature < 0:
                raise ValueError(f"temperature is {temperature}: expected 0 or above")
            if temperature == 0:
                return logits.argmax(-1, keepdim=True)
            return torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1)
    """
    for functions in code.functions.values():
        for function in functions:
            samples = {"sample", "generate", "sampling", "decode"} & set(parts(function.name))
            if not samples or "temperature" not in parameters(function):
                continue
            if any(_looks_at(node) for node in own(function)):
                continue
            for division in own(function):
                if isinstance(division, ast.BinOp | ast.AugAssign) and _divides(division):
                    yield Found(division, "logits are divided by a temperature that nobody has looked at")


def _divides(node: ast.BinOp | ast.AugAssign) -> bool:
    by = node.right if isinstance(node, ast.BinOp) else node.value
    return isinstance(node.op, ast.Div) and dotted(by) == "temperature"


def _looks_at(node: ast.AST) -> bool:
    """A comparison, a truth test, or a call that is given the temperature: max, clamp, a check."""
    if isinstance(node, ast.Compare):
        return "temperature" in names(node)
    if isinstance(node, ast.If | ast.IfExp | ast.Assert):
        return "temperature" in names(node.test)
    if isinstance(node, ast.BoolOp):
        return any(dotted(value) == "temperature" for value in node.values)
    return isinstance(node, ast.Call) and any(dotted(arg) == "temperature" for arg in node.args)
