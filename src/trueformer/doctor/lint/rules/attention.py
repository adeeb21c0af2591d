"""Rules about probabilities: dropout that stays on, softmax over the wrong axis, a mask that is a number."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import Reading, argument, is_constant, last, names, open_ended, own
from trueformer.doctor.lint.rule import Fix, Found, rule

FUNCTIONAL = "torch.nn.functional"
HALF = ("half", "float16", "bfloat16", "autocast", "fp16", "bf16")


@rule(
    "dropout-in-eval",
    words=("scaled_dot_product_attention", "dropout("),
    statement="Functional dropout is off in evaluation.",
    source="The documentation of scaled_dot_product_attention and F.dropout: both always apply p; "
    "finding A13a.",
    looks="A probability kept on self, or a number, given to either of them with nothing about `training`.",
    tolerance="Silent where `training` decides in any way, or where the probability is a parameter.",
    symptoms="Evaluation differs from run to run, and is worse than it should be.",
    causes="nn.Dropout knows the mode of the model; a function is only given a number.",
    remedy="give 0.0 unless self.training",
)
def dropout_in_eval(code: Reading) -> Iterator[Found]:
    """model.eval() reaches modules, never the arguments of a function.

    Wrong:
        import torch.nn.functional as F
        class Attention:
            def forward(self, q, k, v):
                return F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)

    Right:
        import torch.nn.functional as F
        class Attention:
            def forward(self, q, k, v):
                p = self.dropout if self.training else 0.0
                return F.scaled_dot_product_attention(q, k, v, dropout_p=p)
    """
    for call in code.calls("scaled_dot_product_attention"):
        given = argument(call, 4, "dropout_p")
        if given is not None and _is_own(given) and not _gated(code, call):
            gate = f"{ast.unparse(given)} if self.training else 0.0"
            fix = Fix(at=given, kind="expression", code=gate) if code.class_of(call) in code.modules else None
            yield Found(call, "attention dropout is given without self.training: it is on in evaluation", fix)
    for call in code.calls("dropout"):
        if (
            code.name(call.func) != f"{FUNCTIONAL}.dropout"
            or open_ended(call)
            or argument(call, 2, "training")
        ):
            continue
        if _is_own(argument(call, 1, "p")) and not _gated(code, call):
            fix = Fix(at=call, kind="argument", name="training", code="self.training")
            known = code.class_of(call) in code.modules
            yield Found(
                call, "F.dropout is on in evaluation unless it is given training", fix if known else None
            )


def _is_own(value: ast.expr | None) -> bool:
    """A number above zero, or something kept on self: not a parameter, whose caller may decide."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, float) and value.value > 0
    return isinstance(value, ast.Attribute) and "training" not in names(value) and "self" in names(value)


def _gated(code: Reading, call: ast.Call) -> bool:
    """Whether something before the call in its function asks for the mode, but not for another dropout."""
    function = code.function(call)
    if function is None:
        return True
    return any(
        last(node) == "training"
        and node.lineno <= call.lineno
        and not isinstance(code.parent(node), ast.keyword)
        for node in ast.walk(function)
        if isinstance(node, ast.Name | ast.Attribute)
    )


@rule(
    "softmax-axis",
    words=("softmax(", "Softmax(", "softmin("),
    statement="A softmax says over which axis it sums to one.",
    source="F.softmax without dim takes axis 0 of tensors with one or three axes, axis 1 of others.",
    looks="F.softmax, F.log_softmax, F.softmin, nn.Softmax and nn.LogSoftmax without dim.",
    tolerance="Silent where arguments come in by * or **.",
    symptoms="Probabilities of logits (batch, tokens, vocabulary) sum to one over the batch.",
    causes="The axis was left out, and there is a default that depends on the number of axes.",
    remedy="pass dim=-1, or the axis that is meant",
)
def softmax_axis(code: Reading) -> Iterator[Found]:
    """The default was kept for old code; torch warns of it when it runs.

    Wrong:
        import torch.nn.functional as F
        def log_probabilities(logits):
            return F.log_softmax(logits)

    Right:
        import torch.nn.functional as F
        def log_probabilities(logits):
            return F.log_softmax(logits, dim=-1)
    """
    for call in code.calls("softmax", "log_softmax", "softmin"):
        known = code.name(call.func) == f"{FUNCTIONAL}.{last(call.func)}"
        if known and not open_ended(call) and _says_no(argument(call, 1, "dim")):
            yield Found(call, f"{last(call.func)} without dim: the axis depends on how many axes there are")
    for call in code.calls("Softmax", "LogSoftmax", "Softmin"):
        known = code.name(call.func) == f"torch.nn.{last(call.func)}"
        if known and not open_ended(call) and _says_no(argument(call, 0, "dim")):
            yield Found(call, f"{last(call.func)} without dim: the axis depends on how many axes there are")


def _says_no(dim: ast.expr | None) -> bool:
    return dim is None or is_constant(dim, None)


@rule(
    "small-infinity",
    words=("masked_fill", "where("),
    statement="What is masked in half precision gets −∞, not a large number.",
    source="float16 ends at 65504; a finite score can come back when masks are added or a row is all masked.",
    looks="masked_fill and torch.where with a number of -1e4 or below, beside a softmax, in a file with "
    "half precision.",
    tolerance="Silent without half precision in the file, and on torch.finfo(...).min.",
    symptoms="-1e9 raises in float16; -1e4 leaves masked tokens a weight once real scores are as low.",
    causes="A habit from before softmax was safe with −∞.",
    remedy='use float("-inf"), or torch.finfo(scores.dtype).min where a row may be all masked',
    advice=True,
)
def small_infinity(code: Reading) -> Iterator[Found]:
    """A number is only large beside other numbers.

    Wrong:
        import torch
        def attend(scores, mask):
            scores = scores.half().masked_fill(mask, -1e9)
            return torch.softmax(scores, dim=-1)

    Right:
        import torch
        def attend(scores, mask):
            scores = scores.half().masked_fill(mask, float("-inf"))
            return torch.softmax(scores, dim=-1)
    """
    if not any(word in code.text for word in HALF):
        return
    for call in code.calls("masked_fill", "masked_fill_", "where"):
        function = code.function(call)
        values = [*call.args[1:], *(given.value for given in call.keywords)]
        if function and any(map(_is_large, values)) and "softmax" in {last(n) for n in own(function)}:
            yield Found(call, "a large negative number stands for −∞ in code that runs in half precision")


def _is_large(value: ast.expr) -> bool:
    if not isinstance(value, ast.UnaryOp) or not isinstance(value.op, ast.USub):
        return False
    number = value.operand.value if isinstance(value.operand, ast.Constant) else None
    return isinstance(number, int | float) and 1e4 <= number < float("inf")
