"""The training script runs, learns and repeats; the edits of it that tools are compared on fit it, and are silent."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "nanogpt_style_train.py"
ROOT = SCRIPT.parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from alarms.tool import Failed, counted  # noqa: E402 - benchmarks/ is no package of ours
from alarms.traincheck import objects  # noqa: E402
from mutants.mutant import COMPONENTS  # noqa: E402
from mutants.script import BUGS, SOUND, TWINS  # noqa: E402
from side_by_side import SHORT, counting, short_name  # noqa: E402


def run(script, folder):
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    return re.findall(r"loss (-?\d+\.\d+)", done.stdout)


def test_the_script_learns_the_same_each_time_and_leaves_nothing(tmp_path):
    losses = run(SCRIPT, tmp_path)
    assert losses == run(SCRIPT, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert float(losses[0]) > 2.4  # ln 13
    assert float(losses[-1]) < 2.2


def test_every_edit_is_of_this_script_and_of_a_known_component():
    names = Counter(edit.name for edit in (*BUGS, *SOUND))
    assert max(names.values()) == 1
    assert {bug.component for bug in BUGS} <= set(COMPONENTS)
    assert set(TWINS) <= {short_name(bug) for bug in BUGS}
    assert set(TWINS.values()) <= {short_name(edit) for edit in SOUND}
    for edit in (*BUGS, *SOUND):
        compile(edit.source(ROOT), edit.name, "exec")  # source() refuses a text that is not there once


def test_the_script_can_be_made_shorter():
    text = SCRIPT.read_text(encoding="utf-8")
    assert [long for long in SHORT if text.count(long) != 1] == []


@pytest.mark.slow
@pytest.mark.parametrize("edit", [*BUGS, *SOUND], ids=lambda edit: edit.name)
def test_an_edited_script_runs_to_the_end(edit, tmp_path):
    script = tmp_path / SCRIPT.name
    script.write_text(edit.source(ROOT), encoding="utf-8")
    assert len(run(script, tmp_path)) > 8


def test_an_alarm_counts_where_no_sound_script_raises_it():
    silent = {"seed-1337": counted(["a"]), "seed-3": counted(["b"])}
    said = {"x": counted(["a", "a", "b", "c"]), "none": counted(["b"]), "no-answer": Failed("why")}
    left = counting({**silent, **said})
    assert left["x"] == {"a ×2", "c ×1"}
    assert left["none"] == frozenset()
    assert isinstance(left["no-answer"], Failed)


def test_alarms_of_the_sound_twin_do_not_count():
    bug, twin = next(iter(TWINS.items()))
    said = {"seed-1337": counted([]), "seed-3": counted([]), twin: counted(["a"]), bug: counted(["a", "b"])}
    assert counting(said)[bug] == {"b ×1"}


def test_a_tool_that_fails_on_the_sound_script_has_no_finds():
    left = counting({"seed-1337": Failed("why"), "seed-3": counted([]), "x": counted(["a"])})
    assert isinstance(left["x"], Failed)


def test_objects_that_stand_one_after_another_are_told_apart():
    assert objects('{\n "a": {\n  "b": NaN\n }\n}\n{\n "c": 1\n}\n')[1] == {"c": 1}
