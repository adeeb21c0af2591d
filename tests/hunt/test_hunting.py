"""The baselines of the hunt: their programs do what they are for, in the seal, by the benchmark's own command."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from trueformer.hunt.plant import write_sources
from trueformer.hunt.project import project
from trueformer.hunt.sealed import why_not_sealed

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CASE = "tunnel-vision"
WHY_NOT = why_not_sealed()
needs_a_seal = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "sealed")


def hunting(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "hunting.py"), "--out", str(out), "--cases", CASE, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=800)


def rows(out: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*.jsonl")}


@pytest.fixture
def changes(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS / "hunters")
    yield importlib.import_module("changes").changes
    sys.modules.pop("changes")


@needs_a_seal
def test_who_knows_solves_it_and_nobody_else(tmp_path):
    done = hunting(tmp_path / "rows", "--hunter", "oracle", "wrong")
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(tmp_path / "rows")
    assert {name: (row["solved"], row["files"], row["exit"]) for name, row in found.items()} == {
        "oracle": (True, 1, 0),
        "wrong": (False, 1, 0),
    }
    assert all(row["sealed"] and not row["fooled"] for row in found.values())
    again = hunting(tmp_path / "rows", "--hunter", "nothing")
    assert again.returncode == 1
    assert "not overwritten" in again.stderr


@pytest.mark.slow
@needs_a_seal
def test_the_doctor_mends_what_one_line_can_mend(tmp_path):
    done = hunting(tmp_path / "rows", "--hunter", "doctor", "--minutes", "8")
    row = rows(tmp_path / "rows")["doctor"]
    assert row["solved"], (done.stdout, done.stderr, row["said"])
    assert row["edits"] == 2
    assert "attention is to blame" in row["said"]


def test_chance_changes_one_line_and_the_seed_says_which(tmp_path):
    drawn = [_drawn(tmp_path / str(place), seed) for place, seed in enumerate("112")]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def _drawn(folder: Path, seed: str) -> list[tuple[str, int, str]]:
    """The lines that differ once the program has been here: file, number, text."""
    write_sources(project(), folder / "trueformer")
    (folder / "INCIDENT.md").write_text("Something is wrong.", encoding="utf-8")
    program = str(BENCHMARKS / "hunters" / "random_line.py")
    subprocess.run([sys.executable, program, seed], cwd=folder, check=True, capture_output=True, timeout=200)
    found = []
    for name, source in project().items():
        lines = (folder / "trueformer" / name).read_text(encoding="utf-8").splitlines()
        pairs = enumerate(zip(source.splitlines(), lines, strict=True), 1)
        found += [(name, number, line) for number, (before, line) in pairs if line != before]
    assert len(found) == 1
    return found


def test_each_change_is_of_one_line_and_parses(changes):
    for name in ("nn/attention.py", "nn/plain.py", "data/loader.py", "optim/schedules.py"):
        source = project()[name]
        lines = source.splitlines()
        for change in changes(source):
            ast.parse(change.source)
            changed = change.source.splitlines()
            assert len(changed) == len(lines)
            assert [i for i, line in enumerate(changed, 1) if line != lines[i - 1]] == [change.line]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("a - b", {"a + b", "b - a"}),
        ("(a + b) * c", {"(a - b) * c", "(a + b) / c", "a + b + c"}),
        ("a < b", {"a <= b", "a >= b"}),
        ("f(a, b)", {"f(b, a)"}),
        ("not a", {"a"}),
        ("a and b", {"a or b"}),
        ("x[-1]", {"x[1]", "x[-2]", "x[-0]"}),
        ("a if b else c", {"a if not b else c"}),
        ("True", {"False"}),
        ("é * 2", {"é / 2", "é + 2", "é * 3", "é * 1", "é * (-2)"}),
    ],
)
def test_changes_are_the_small_slips_of_a_line(changes, line, wanted):
    assert {change.source for change in changes(line)} == wanted


def test_a_change_knows_the_function_that_it_is_in(changes):
    source = "LIMIT = 3\n\n\n@cache\ndef f(n: 7):\n    return n + 1\n"
    assert {(change.line, change.home) for change in changes(source)} == {(1, 0), (6, 4)}
