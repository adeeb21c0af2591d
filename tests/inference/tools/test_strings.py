"""String operations, and what the model reads when it asks wrongly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueformer.inference.tools.strings import OPERATIONS, STRINGS, edit
from trueformer.inference.tools.tool import ToolError


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("count r strawberry", "3"),
        ("count R Raspberry", "3"),
        ("count an banana band", "3"),
        ("count é café é", "2"),
        ("length strawberry", "10"),
        ("length to be", "5"),
        ("letters cat", "c-a-t"),
        ("lower To Be", "to be"),
        ("reverse strawberry", "yrrebwarts"),
        ("upper straße", "STRASSE"),
        ("  reverse ab ", "ba"),
    ],
)
def test_operations(request_: str, expected: str) -> None:
    assert STRINGS.run(request_) == expected


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (
            "",
            "'' is no operation: expected one of count, length, letters, lower, reverse, upper, then a text",
        ),
        ("shout hello", "'shout' is no operation"),
        ("__class__ x", "'__class__' is no operation"),
        ("reverse", "reverse has no text: expected it after a space, e.g. reverse strawberry"),
        ("count r", "count has one word"),
    ],
)
def test_wrong_requests_say_what_to_ask(request_: str, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        edit(request_)


@given(st.text(min_size=1).map(str.strip).filter(bool))
def test_operations_agree_with_one_another(text: str) -> None:
    assert edit(f"reverse {text}") == text[::-1]
    assert edit(f"length {text}") == str(len(text))
    assert edit(f"letters {text}")[::2] == text
    assert all(isinstance(edit(f"{name} a {text}"), str) for name in OPERATIONS)
