"""Inline exceptions: on the line, above it, within an expression; and those that hide nothing."""

from pathlib import Path

import pytest

from trueformer.doctor.lint.config import LintConfig
from trueformer.doctor.lint.files import Source
from trueformer.doctor.lint.run import lint_source
from trueformer.doctor.lint.suppress import ignored

LOAD = "source/unsafe-load"


def rules(text: str) -> list[str]:
    """What is reported of a text."""
    path = Path("a.py")
    return [hit.rule for hit in lint_source(path, Source(text=text), LintConfig().rules(path))]


def test_without_an_exception_it_is_reported():
    assert rules("import torch\ntorch.load('a')\n") == [LOAD]


@pytest.mark.parametrize(
    "text",
    [
        f"import torch\ntorch.load('a')  # trueformer: ignore[{LOAD}] ours",
        f"import torch\n# trueformer: ignore[{LOAD}] ours\ntorch.load('a')\n",
        f"import torch\ntorch.load(\n    'a',\n)  #trueformer:ignore[source/temperature, {LOAD}] ours\n",
    ],
)
def test_an_exception_hides_its_rule(text: str):
    assert rules(text) == []


@pytest.mark.parametrize(
    "comment",
    ["# trueformer: ignore[source/temperature] another rule", "# noqa", f"'# trueformer: ignore[{LOAD}]'"],
)
def test_what_is_no_exception_to_this_rule_hides_nothing(comment: str):
    assert rules(f"import torch\ntorch.load('a'); {comment}\n") == [LOAD]


def test_an_exception_reaches_no_further_than_one_line():
    text = f"import torch\ntorch.load('a')  # trueformer: ignore[{LOAD}] ours\ntorch.load('b')\n"
    assert rules(text) == [LOAD]


def test_an_exception_at_the_end_of_a_function_does_not_cover_its_head():
    text = (
        "def f(read, path):\n    try:\n        read.load_state_dict(path)\n    except Exception:\n        0"
    )
    assert rules(text) == ["source/swallowed-error"]
    why = "  # trueformer: ignore[source/swallowed-error] why"
    assert rules(text + why) == ["source/swallowed-error"]
    assert rules(text.replace("Exception:", f"Exception:{why}")) == []


def test_a_bare_exception_is_reported_and_hides_nothing():
    assert rules("import torch\ntorch.load('a')  # trueformer: ignore\n") == [LOAD, "source/bare-ignore"]
    assert rules("x = 1  # trueformer: ignore[] nothing\n") == ["source/bare-ignore"]


def test_lines_of_exceptions_are_counted_from_one():
    assert ignored("# trueformer: ignore[a/b]\nx = 1  # trueformer: ignore[c/d]\n") == {2: {"a/b", "c/d"}}
