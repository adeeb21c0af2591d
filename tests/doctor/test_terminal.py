"""The report on a terminal, narrow and wide: the broken first, a line a component, a line a law."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from trueformer.doctor.report import Report, number
from trueformer.doctor.terminal import broken_as_text, show
from trueformer.doctor.words import printable


def shown(report: Report, width: int = 80, everything: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    show(report, console, everything=everything)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def index(lines: list[str], words: str) -> int:
    return next(i for i, line in enumerate(lines) if words in line)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_broken_are_first_and_fit(report: Report, width: int):
    lines = shown(report, width)
    order = [
        index(lines, words) for words in ("attention/broken", "norm/crashed", "norm/slow", "loss/advice")
    ]
    assert order == sorted(order)
    assert order[-1] < index(lines, "1 not checked: supply loss=")
    assert max(map(len, lines)) <= width


def test_a_broken_law_tells_all_there_is_to_know(report: Report):
    panel = "\n".join(shown(report, 200)[:12])
    for words in ("What must hold.", "nan, expected at most 1e-05", "The symptoms of it.", "The causes of it.",
                  "trueformer check x --only attention/broken", "trueformer explain attention/broken"):  # fmt: skip
        assert words in panel


def test_a_crash_is_not_explained_by_what_usually_breaks_the_law(report: Report):
    lines = shown(replace(report, results=report.results[2:4]), 200)
    said = "\n".join(lines)
    assert "alert('x')" in said
    assert "gave no answer in 60 s" in said
    assert "The causes of it." not in said


def test_each_component_has_one_line(report: Report):
    lines = shown(report)
    for component, counts in {"attention": "✗ 1", "norm": "! 1", "loss": "? 1"}.items():
        (line,) = [line for line in lines if line.startswith(component)]
        assert counts in line


@pytest.mark.parametrize("width", [60, 80, 120])
def test_with_everything_each_law_has_one_line(report: Report, width: int):
    long = replace(report.results[0], law=replace(report.results[0].law, statement="word " * 100))
    report = replace(report, results=(long, *report.results[1:]))
    lines = [
        line
        for line in shown(report, width, everything=True)
        if line[:2] in ("✓ ", "✗ ", "! ", "⧖ ", "– ", "? ")
    ]
    assert [line.split()[1] for line in lines][:7] == [result.law.id for result in report.results]
    assert max(map(len, lines)) <= width


def test_the_last_line_sums_up(report: Report):
    assert shown(report, 120)[-1].startswith(
        "models/mine.py:build: 2 broken, 1 crashed, 1 timed out, 1 holds"
    )


def test_nothing_of_the_code_under_test_steers_the_terminal(report: Report):
    said = "\n".join(shown(report) + shown(report, everything=True)) + broken_as_text(report)
    assert not set("\x1b\x00\u202e") & set(said)
    assert "\\x1b[31m" in said


def test_printable_keeps_lines_and_letters():
    assert printable("ä → 你好\n\tx") == "ä → 你好\n\tx"
    assert printable("a\x1b\ud800\x85\ufffe") == "a\\x1b\\ud800\\x85\\ufffe"


@pytest.mark.parametrize(
    ("value", "words"),
    [(1104.0, "1104"), (0.03971, "0.0397"), (1e-5, "1e-05"), (float("nan"), "nan"), (float("-inf"), "-inf"),
     (2e9, "2e+09")],
)  # fmt: skip
def test_numbers_as_people_read_them(value: float, words: str):
    assert number(value) == words
