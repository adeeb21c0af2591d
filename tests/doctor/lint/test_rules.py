"""Every rule finds what it says, and nothing else: its lesson, and the snippets under its name."""

import re
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from trueformer.doctor.lint.config import LintConfig
from trueformer.doctor.lint.files import Source
from trueformer.doctor.lint.rule import RULES
from trueformer.doctor.lint.run import lint_source
from trueformer.laws.law import BOOK

FOLDER = Path(__file__).parent / "snippets"
HEAD = re.compile(r"^### (wrong|right): (.+)$", re.MULTILINE)


def found(text: str) -> Counter[str]:
    """How often each rule reports a text."""
    path = Path("snippet.py")
    return Counter(hit.rule for hit in lint_source(path, Source(text=text), LintConfig().rules(path)))


def snippets(kind: str):
    """The snippets of one kind in all files, as test parameters of rule and text."""
    for path in sorted(FOLDER.glob("*.txt")):
        pieces = HEAD.split(path.read_text(encoding="utf-8"))[1:]
        for is_kind, what, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
            if is_kind == kind:
                yield pytest.param(f"source/{path.stem}", text, id=f"{path.stem}-{what}")


WRONG, RIGHT = list(snippets("wrong")), list(snippets("right"))


@pytest.mark.parametrize(("rule", "text"), WRONG)
def test_a_wrong_snippet_is_reported_by_its_rule_alone(rule: str, text: str):
    assert set(found(text)) == {rule}


@pytest.mark.parametrize(("rule", "text"), RIGHT)
def test_a_right_snippet_is_silent(rule: str, text: str):
    assert found(text) == {}


@pytest.mark.parametrize("rule", list(RULES))
def test_a_rule_has_two_snippets_of_each_kind(rule: str):
    for given in (WRONG, RIGHT):
        assert sum(parameter.values[0] == rule for parameter in given) >= 2


@pytest.mark.parametrize("rule", list(RULES))
def test_a_lesson_is_right_about_its_own_examples(rule: str):
    wrong, right = BOOK[rule].lesson.split("Wrong:")[1].split("Right:")
    assert set(found(textwrap.dedent(wrong))) == {rule}
    assert found(textwrap.dedent(right)) == {}


@pytest.mark.parametrize("rule", list(RULES))
def test_a_rule_says_everything_a_law_says(rule: str):
    law = BOOK[rule]
    assert all(
        [law.statement, law.source, law.looks, law.tolerance, law.symptoms, law.causes, RULES[rule].remedy]
    )
    assert law.component == "source"
    assert law.probe is None


@pytest.mark.parametrize(("rule", "text"), WRONG)
def test_the_words_of_a_rule_leave_no_finding_out(rule: str, text: str):
    """A file without one of a rule's words is not read with it, so each wrong snippet must have one."""
    assert RULES[rule].may_fire(text)


def test_our_own_sources_are_clean():
    from trueformer.doctor.lint.run import lint

    outcome = lint([Path(__file__).parents[3] / "src"], LintConfig())
    assert outcome.files > 200
    assert [f"{hit.place} {hit.rule}" for hit in outcome.hits] == []
    assert outcome.failures == ()
