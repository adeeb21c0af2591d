"""`trueformer explain`: every law can be told, and a slip of the pen finds it."""

import io

import pytest
from rich.console import Console

from trueformer.cli import main
from trueformer.doctor.explain import every_law, explained
from trueformer.laws.book import laws, nearest


def told(word: str = "", width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(explained(word))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_has_every_law_with_its_statement():
    said = told(width=400)
    for law in every_law():
        line = next(line for line in said.splitlines() if line.strip().startswith(law.id + " "))
        assert law.statement in line


def test_every_law_has_a_lesson_to_tell():
    for law in laws():
        said = " ".join(told(law.id, width=400).split())
        for words in (law.statement, law.source, law.looks, law.tolerance, law.symptoms, law.causes):
            assert words, law.id
            assert " ".join(words.split()) in said, law.id
        assert law.lesson.strip(), law.id
        assert f"--only {law.id}" in said


def test_the_worked_example_keeps_its_lines_and_indents():
    said = told("attention/scale").splitlines()
    right = next(line for line in said if "# right" in line)
    wrong = next(line for line in said if "# wrong" in line)
    assert right.strip().startswith("scores = q @ k.mT / math.sqrt(d)")
    assert right.index("scores") == wrong.index("scores") == 4


def test_a_component_lists_its_laws():
    said = told("attention")
    assert "attention/causal" in said
    assert "position/" not in said


@pytest.mark.parametrize(
    ("written", "meant"),
    [("attention/casual", "attention/causal"), ("causal", "attention/causal"), ("atention", "attention"),
     ("position/causal", "attention/causal")],
)  # fmt: skip
def test_did_you_mean(written: str, meant: str, capsys: pytest.CaptureFixture):
    assert main(["explain", written]) == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_nothing_near_says_where_all_are_listed():
    assert nearest("qqqqqq", ["attention"]) == ": `trueformer explain` lists them"


def test_the_command_prints_and_succeeds(capsys: pytest.CaptureFixture):
    assert main(["explain", "attention/causal"]) == 0
    assert "A logit never depends on a later token." in capsys.readouterr().out
