"""Edits find their place on the syntax tree, keep all else to the character, and refuse what they do not find once."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueformer.hunt.edits import Edit, apply

SOURCE = '''"""A module."""

WIDTH = 3


class Layer:
    """A layer."""

    def forward(self, x):
        """Twice."""
        y = x * 2  # doubled
        if y > 0:
            y = y + 1
            z = y
        return y + WIDTH


def other(x):
    y = x * 2
    return y
'''


def edited(**words) -> str:
    return apply((Edit(file="a.py", **words),), {"a.py": SOURCE})["a.py"]


def test_an_expression_is_replaced_in_its_own_definition_only():
    found = edited(where="Layer.forward", old="x*2", new="x * 3")
    assert found == SOURCE.replace("y = x * 2  # doubled", "y = x * 3  # doubled")


def test_statements_are_replaced_at_their_own_depth_whatever_the_layout():
    found = edited(where="Layer.forward", old="y = (y +\n 1)\nz = y", new="z = y")
    assert found == SOURCE.replace("            y = y + 1\n            z = y\n", "            z = y\n")


def test_statements_in_the_place_of_a_lone_call_stand_at_its_depth():
    source = "def f(x):\n    if x:\n        g(x)  # once\n    return h(g, x)\n"

    def with_new(new: str) -> str:
        return apply((Edit(file="a.py", where="f", old="g(x)", new=new),), {"a.py": source})["a.py"]

    assert with_new("""
        y = g(x)
        g(y)
    """) == source.replace("g(x)  # once", "y = g(x)\n        g(y)")
    assert with_new("g(x, x)") == source.replace("g(x)", "g(x, x)")


def test_a_docstring_is_replaced_and_keeps_its_quotes():
    assert edited(where="Layer.forward", new="Thrice.") == SOURCE.replace('"""Twice."""', '"""Thrice."""')
    assert ast.get_docstring(ast.parse(edited(new="One.\n\nTwo."))) == "One.\n\nTwo."


def test_a_definition_that_moved_to_another_file_is_found():
    edit = Edit(file="gone.py", where="other", old="return y", new="return -y")
    assert apply((edit,), {"a.py": SOURCE, "b.py": ""})["a.py"].endswith("    return -y\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"where": "Layer.forward", "old": "x * 4", "new": "x"}, "0 places read 'x \\* 4', expected 1"),
        ({"old": "x * 2", "new": "x"}, "2 places"),
        ({"where": "Layer.backward", "old": "x", "new": "y"}, "no such definition"),
        ({"where": "other", "old": "x *", "new": "y"}, "no expression and no statements"),
        ({"where": "other", "old": "x * 2", "new": "x *"}, "does not parse"),
        ({"where": "other", "new": "Said."}, "no docstring"),
    ],
)
def test_what_does_not_fit_is_refused(words, said):
    with pytest.raises(ValueError, match=said):
        edited(**words)


@given(st.text(alphabet="abcdeé日 _", min_size=1, max_size=12), st.integers(0, 9))
def test_letters_of_many_bytes_before_the_place_do_not_shift_it(text, number):
    source = f"def f(x):\n    return g({text!r}, x + {number}, {text!r})\n"
    found = apply((Edit(file="a", where="f", old=f"x + {number}", new="x"),), {"a": source})["a"]
    assert found == source.replace(f"x + {number}", "x")
