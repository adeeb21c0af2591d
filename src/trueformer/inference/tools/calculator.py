"""A calculator for models: exact arithmetic on a parsed expression, with every intermediate result bounded.

    calculate("0.1 + 0.2")  →  "0.3"        calculate("1,000 ÷ 3")  →  "333.333333333"

Numbers are whole or decimal, with thousands separators where each group has three digits. Operators are
Python's, with Python's precedence: + - * / // % ** and signs; × and ÷ and the true minus sign − are read as *
/ -, and ^ as a power. % is the remainder of a division (with the divisor's sign), never per cent. Arithmetic
is in fractions: a whole result is printed whole, any other rounded to twelve significant digits, or to a
whole number where that has more. Leaves out variables, functions, units, e-notation, and roots, which are not
exact.

Nothing here takes long: length and depth are bounded before parsing, a power before it is computed, and sums
and products of numbers within bounds are small.
"""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

from trueformer.inference.tools.tool import Tool, ToolError

LENGTH = 200  # characters of an expression
DEPTH = 20  # parentheses within one another: far from where any version of Python's parser gives up
DIGITS = 100  # digits of any numerator or denominator on the way
SIGNIFICANT = 12  # digits shown of a result that is not whole

_NUMBER = re.compile(r"(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+", re.ASCII)
_SAME = str.maketrans({"×": "*", "÷": "/", "−": "-", "^": "**"})
_ALLOWED = frozenset("+-*/%() ")
_BOUND = 10**DIGITS
_TOO_LARGE = f"a number on the way has more than {DIGITS} digits: expected smaller ones"

_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def calculate(expression: str) -> str:
    """The value of an arithmetic expression as a decimal number.

    Raises:
        ToolError: no expression, too long or too deep, a division by zero, or a number on the way too large.
    """
    try:
        return show(evaluate(expression))
    except ZeroDivisionError:
        raise ToolError("division by zero") from None


def evaluate(expression: str) -> Fraction:
    """The exact value of an arithmetic expression.

    Raises:
        ToolError: as `calculate` has it.
        ZeroDivisionError: it divides by zero.
    """
    source = _source(expression)
    try:
        return _value(ast.parse(source, mode="eval").body, source)
    except (SyntaxError, MemoryError, RecursionError):
        raise ToolError(f"{expression!r} is no arithmetic: expected something like (3 + 4) * 2") from None


def show(value: Fraction) -> str:
    """A number in decimal notation: whole ones entire, others to `SIGNIFICANT` digits without trailing zeros.

    Digits before the point are always shown, so 2469135780246.5 is rounded to 2469135780246, and not further.
    """
    if value.denominator == 1:
        return str(value.numerator)
    places = SIGNIFICANT - 1 - _magnitude(value)
    if places <= 0:
        return str(round(value))
    digits = str(round(abs(value) * 10**places)).zfill(places + 1)
    text = f"{digits[:-places]}.{digits[-places:]}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text


def _magnitude(value: Fraction) -> int:
    """The power of ten of the first digit: 0 for 1.5, 2 for 123.4, -3 for 0.001."""
    estimate = len(str(abs(value.numerator))) - len(str(value.denominator))
    return estimate if abs(value) >= Fraction(10) ** estimate else estimate - 1


def _source(expression: str) -> str:
    """The expression as Python's parser gets it: no letters, separators or leading zeros."""
    if len(expression) > LENGTH:
        raise ToolError(
            f"the expression has {len(expression)} characters: expected at most {LENGTH}; split it"
        )
    source = " ".join(expression.translate(_SAME).split())
    rest = _NUMBER.sub("", source)
    unknown = next((c for c in rest if c not in _ALLOWED), None)
    if unknown is not None:
        raise ToolError(f"{unknown!r} cannot be read: expected numbers, + - * / // % ** and parentheses only")
    if re.search(r"%\s*(?:[-+)]|$)", source):
        raise ToolError("% is the remainder of a division, as in 7 % 3: for per cent write /100")
    if _depth(source) > DEPTH:
        raise ToolError(f"parentheses are more than {DEPTH} deep: expected fewer; split the expression")
    # Spaces keep two numbers side by side from becoming one: 1,0000 must not be read as 10000.
    return _NUMBER.sub(lambda match: f" {match[0].replace(',', '').lstrip('0') or '0'} ", source).strip()


def _depth(source: str) -> int:
    """The greatest number of parentheses open at once."""
    depth = deepest = 0
    for c in source:
        depth += (c == "(") - (c == ")")
        deepest = max(deepest, depth)
    return deepest


def _value(node: ast.AST, source: str) -> Fraction:
    """The value of a part of the expression; its length bounds how deep this goes."""
    match node:
        case ast.Constant():
            # From the text: Python's own constant is already rounded to a float.
            value = Fraction(str(ast.get_source_segment(source, node)))
        case ast.UnaryOp(op=ast.UAdd() | ast.USub()):
            operand = _value(node.operand, source)
            value = -operand if isinstance(node.op, ast.USub) else operand
        case ast.BinOp(op=ast.Pow()):
            value = _power(_value(node.left, source), _value(node.right, source))
        case ast.BinOp() if type(node.op) in _BINARY:
            left, right = _value(node.left, source), _value(node.right, source)
            value = Fraction(_BINARY[type(node.op)](left, right))
        case ast.Call():
            raise ToolError("a * is missing before a parenthesis: expected 2*(3+4), not 2(3+4)")
        case _:
            raise ToolError("that is no arithmetic: expected numbers, + - * / // % ** and parentheses only")
    _refuse_large(value)
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    """A power with a whole exponent, refused before it is computed if it would have too many digits."""
    if exponent.denominator != 1:
        raise ToolError(
            f"the exponent {show(exponent)} is not whole: expected a whole number; roots are not exact"
        )
    size = max(abs(base.numerator), base.denominator)
    # A number with b bits is at least 2**(b-1), so its power has at least (b-1)·|exponent| bits.
    if (size.bit_length() - 1) * abs(exponent) > _BOUND.bit_length():
        raise ToolError(_TOO_LARGE)
    return base**exponent.numerator


def _refuse_large(value: Fraction) -> None:
    if max(abs(value.numerator), value.denominator) >= _BOUND:
        raise ToolError(_TOO_LARGE)


CALCULATOR = Tool(
    name="calculator", about="The value of an arithmetic expression, e.g. (3 + 4) * 2.", run=calculate
)
