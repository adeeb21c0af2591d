"""The calculator against Python's own fractions, what people wrote, and what should not work."""

import re
import time
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trueformer.inference.tools.calculator import (
    DEPTH,
    DIGITS,
    LENGTH,
    SIGNIFICANT,
    calculate,
    evaluate,
    show,
)
from trueformer.inference.tools.tool import ToolError

NUMBERS = st.one_of(
    st.integers(0, 9999).map(str),
    st.decimals(0, 100, places=3).map(str),
    st.sampled_from(["0", "1", "00", "007", ".5", "0.1", "0.10"]),
)


def combined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Larger expressions out of smaller ones, without brackets wherever Python needs none."""
    spaces = st.sampled_from(["", " ", "  "])
    return st.one_of(
        st.tuples(parts, spaces, st.sampled_from(["+", "-", "*", "/", "//"]), spaces, parts).map("".join),
        st.tuples(parts, parts).map(lambda two: f"{two[0]} % ({two[1]})"),
        st.tuples(st.sampled_from(["-", "+", "--"]), parts).map("".join),
        st.tuples(parts, st.integers(-2, 3)).map(lambda two: f"(-{two[0]}**{two[1]})"),
        parts.map(lambda part: f"({part})"),
    )


def python_says(text: str) -> Fraction:
    """The twin: Python's own parser, precedence and fractions, with nothing bounded."""
    program = re.sub(r"\d*\.?\d+", r"Fraction('\g<0>')", text)
    return Fraction(eval(program, {"Fraction": Fraction}))


@settings(deadline=None, max_examples=500)
@given(st.recursive(NUMBERS, combined, max_leaves=8))
def test_expressions_have_the_value_that_python_gives_them(text: str) -> None:
    assume(len(text) <= LENGTH)
    try:
        expected = python_says(text)
    except ZeroDivisionError:
        with pytest.raises(ToolError):
            calculate(text)
        return
    assume(len(str(expected)) < DIGITS)  # and so is every number on the way, or nearly always
    assert evaluate(text) == expected
    assert calculate(text) == show(expected)


# Left and right sides of calculations as annotators of school problems wrote them.
WRITTEN = [
    "48/2=24",
    "12/60=0.2",
    "100-50-30-15=5",
    "63000-9400-9100-8300-9200-8900=18100",
    "2-.5=1.5",
    "30*.10=3.00",
    "2*20*.01=.4",
    "1.5/2=.75",
    ".35-.25=.1",
    "7*8.75=61.25",
    "21*20*0.58=243.60",
    "50*.01*2220=1110.00",
    "560//10=56",
    "180//3=60",
    "768/50=15.36",
    "25.50+35.00+27.00+8.50+24.00=120.00",
    "(18-5)*10=130",
    "(138-2)/2=68",
    "1.75-(-1.25)=3",
    "2985-(995+818)=1172",
    "18*.5=9.00",
    "1.20*4=4.80",
    "6/60=.1",
    "45+28+27=100.00",
    "11-20=-9",
    "0.5*5=2.50",
    "2.10+0.50+0.20=2.80",
    "6/(1/3)=18",
    "400*0.05=20.00",
    "25-8.5=16.5",
    "-36+13+-15+-10=-48",
    "-18/-2=9",
    "71+-3=68",
    "13200*(2/3)=8800",
    "(20/100)*45=9",
    "30/(3)=10",
]


@pytest.mark.parametrize("line", WRITTEN)
def test_calculations_that_people_wrote_come_out_as_they_say(line: str) -> None:
    left, right = line.split("=")
    assert evaluate(left) == evaluate(right)
    assert calculate(left) == calculate(right)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0.1 + 0.2", "0.3"),
        ("1/3", "0.333333333333"),
        ("2/3", "0.666666666667"),
        ("-1/7", "-0.142857142857"),
        ("1/3*3", "1"),
        ("-2**2", "-4"),
        ("2**3**2", "512"),
        ("2^10", "1024"),
        ("2**-2", "0.25"),
        ("1**10**99", "1"),
        ("7 // 2", "3"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("7.5 % 2", "1.5"),
        ("3 × 4 ÷ 2 − 1", "5"),
        ("1,000 + 1", "1001"),
        ("12,345,678.5 * 2", "24691357"),
        ("05 + 007", "12"),
        ("1 +\n\t2", "3"),
        ("2469135780245.25", "2469135780245"),
        ("9999999999995/10**12", "10"),
        ("0.99999999999999", "1"),
        ("1/10**20", "0.00000000000000000001"),
        ("10**99", "1" + "0" * 99),
        ("0 * -1", "0"),
    ],
)
def test_what_is_read_and_how_it_is_shown(expression: str, expected: str) -> None:
    assert calculate(expression) == expected


@settings(deadline=None, max_examples=500)
@given(st.fractions(-(10**30), 10**30, max_denominator=10**20))
def test_a_shown_number_is_the_nearest_of_its_length_and_reads_as_itself(value: Fraction) -> None:
    text = show(value)
    assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d*[1-9])?", text)
    assert text != "-0"
    shown = Fraction(text)
    assert len(text.lstrip("-0.").replace(".", "")) <= SIGNIFICANT or shown.denominator == 1
    # Half a unit of the twelfth digit, at most a twelfth digit's worth of a number that begins with 1.
    assert abs(shown - value) <= max(abs(value) * Fraction(1, 2 * 10 ** (SIGNIFICANT - 1)), 0)
    assert value.denominator > 1 or shown == value
    assert calculate(text) == text


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("9**9**9", "more than 100 digits"),
        ("9^9^9^9^9", "more than 100 digits"),
        ("10**-10**9", "more than 100 digits"),
        ("10**100", "more than 100 digits"),
        ("0.1**100", "more than 100 digits"),
        ("-(10**50)*10**50", "more than 100 digits"),
        ("1" * 101, "more than 100 digits"),
        ("0." + "1" * 150, "more than 100 digits"),
        ("1/0", "division by zero"),
        ("1//0", "division by zero"),
        ("1%(1-1)", "division by zero"),
        ("0**-1", "division by zero"),
        ("2**0.5", "the exponent 0.5 is not whole"),
        ("(" * 100 + "1" + ")" * 99, f"parentheses are more than {DEPTH} deep"),
        ("(" * 150, f"parentheses are more than {DEPTH} deep"),
        ("(" * DEPTH, "no arithmetic"),
        (")(", "no arithmetic"),
        ("1+" * 100_000, f"200000 characters: expected at most {LENGTH}"),
        ("", "no arithmetic"),
        ("   ", "no arithmetic"),
        ("()", "no arithmetic"),
        ("*1", "no arithmetic"),
        ("1 2", "no arithmetic"),
        ("1.2.3", "no arithmetic"),
        ("5.", "'.' cannot be read"),
        ("2(3)", "a * is missing"),
        ("(1)(2)", "a * is missing"),
        ("20% * 50", "no arithmetic"),
        ("20%", "write /100"),
        ("100 + 5% + 3", "write /100"),
        ("(20%)*5", "write /100"),
        ("1,00", "',' cannot be read"),
        ("0,500", "',' cannot be read"),
        ("1,0000", "no arithmetic"),
        ("1234,567", "',' cannot be read"),
        ("1,234,56", "',' cannot be read"),
        ("1;2", "';' cannot be read"),
        ("$5 * 2", "'$' cannot be read"),
        ("48/2=", "'=' cannot be read"),
        ("1e5", "'e' cannot be read"),
        ("1_000", "'_' cannot be read"),
        ("0x10", "'x' cannot be read"),
        ("2j", "'j' cannot be read"),
        ("__import__('os').system('true')", "'_' cannot be read"),
        ("f'{1}'", "'f' cannot be read"),
        ("[1]*9", "'[' cannot be read"),
        ("1\x002", r"'\x00' cannot be read"),
        ("٣ + ١", "'٣' cannot be read"),
        ("²", "'²' cannot be read"),
        ("\ud800", r"'\ud800' cannot be read"),
        ("1 << 3", "'<' cannot be read"),
        ("~1", "'~' cannot be read"),
    ],
)
def test_what_is_refused_is_refused_at_once_and_says_why(expression: str, reason: str) -> None:
    start = time.perf_counter()
    with pytest.raises(ToolError, match=re.escape(reason)):
        calculate(expression)
    assert time.perf_counter() - start < 1


@settings(deadline=2000, max_examples=500)
@given(
    st.one_of(st.text("0123456789.,+-*/%^() ", max_size=LENGTH), st.text("9*(", max_size=LENGTH), st.text())
)
def test_any_text_gives_a_short_number_or_an_error(text: str) -> None:
    try:
        answer = calculate(text)
    except ToolError:
        return
    assert re.fullmatch(r"-?\d+(\.\d+)?", answer)
    assert len(answer) <= DIGITS + SIGNIFICANT + len("-0.")


def test_the_length_alone_bounds_how_deep_signs_and_sums_go() -> None:
    assert calculate("-" * (LENGTH - 1) + "1") == "-1"
    assert calculate("1" + "+1" * ((LENGTH - 1) // 2)) == str(LENGTH // 2)
    assert calculate("(" * DEPTH + "7" + ")" * DEPTH) == "7"
    assert calculate("2*(" * DEPTH + "1" + ")" * DEPTH) == str(2**DEPTH)
