"""Programs as hunters: one that does nothing, one that knows, one that is wrong, one that cheats, one that never ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trueformer.hunt.bench import Setting, bench, summary
from trueformer.hunt.bug import bug
from trueformer.hunt.plant import write_sources
from trueformer.hunt.project import project
from trueformer.hunt.sealed import why_not_sealed

CASE = "tunnel-vision"
FIRST, SECOND = "crowded-micro-steps", "loud-short-answers"
SEAL = not why_not_sealed()
WRONG = "sed -i 's/self.head_dim\\*\\*0.5/self.head_dim/' trueformer/nn/attention.py"
CHEAT = "printf 'import torch\\ntorch.softmax = torch.softmax\\n' >> trueformer/nn/attention.py"


@pytest.fixture
def rows(tmp_path):
    def run(command: str, **words) -> list:
        setting = Setting(seal=SEAL, measure=False, **{"minutes": 2.0, **words})
        return list(bench(command, [bug(CASE)], setting, tmp_path / "rows.jsonl"))

    return run


def test_who_does_nothing_solves_nothing(rows, tmp_path):
    (row,) = rows("true")
    assert not row.solved
    assert (row.score, row.edits, row.exit, row.sealed) == (0.0, 0, 0, SEAL)
    assert json.loads((tmp_path / "rows.jsonl").read_text())["case"] == CASE


def test_who_knows_solves_it(rows, tmp_path):
    sound = write_sources(project(), tmp_path / "sound")
    (row,) = rows(f"cp -r {sound}/. trueformer", allow=(sound,))
    assert row.solved, (row.error, row.said)
    assert row.score == row.of
    assert row.files == 1
    assert [line["solved"] for line in summary([row])][-1].startswith("100.0 % of 1")


@pytest.mark.parametrize("command", [WRONG, CHEAT], ids=["wrong", "cheat"])
def test_who_is_wrong_or_cheats_solves_nothing(rows, command):
    (row,) = rows(f"sh -c {json.dumps(command)}")
    assert not row.solved
    assert row.files == 1
    assert bool(row.fooled) == (command is CHEAT)


def test_who_never_ends_is_ended_with_all_that_it_started(rows):
    began = time.monotonic()
    (row,) = rows(f"{sys.executable} -c 'import time; time.sleep(3600)'", minutes=0.05)
    assert row.timed_out
    assert row.exit is None
    assert row.seconds < 60
    assert time.monotonic() - began < 300


def test_the_incident_is_on_standard_input_and_in_the_folder(rows):
    (row,) = rows("sh -c 'cat > in.txt; cmp in.txt INCIDENT.md && grep -c trueformer/ in.txt'")
    assert row.exit == 0, row.said


def test_nothing_is_overwritten_and_nothing_is_run_without_a_case(tmp_path):
    (tmp_path / "rows.jsonl").write_text("mine")
    with pytest.raises(ValueError, match="not overwritten"):
        next(bench("true", [bug(CASE)], Setting(seal=False), tmp_path / "rows.jsonl"))
    with pytest.raises(ValueError, match="no case"):
        next(bench("true", [], Setting(seal=False), Path("unused")))


def test_ctrl_c_ends_the_hunter_with_all_that_it_started_and_keeps_the_rows(tmp_path):
    """The first case's hunter ends at once, the second's never; one of its children has left its group where it can."""
    mark = f"98765.{os.getpid()}"
    stays = f"{'setsid ' if SEAL else ''}sleep {mark} & sleep {mark}"
    hunter = f"sh -c 'grep -q \"{bug(SECOND).title[:20]}\" INCIDENT.md || exit 0; {stays}'"
    words = [
        "--cases",
        FIRST,
        SECOND,
        "--out",
        str(tmp_path / "rows.jsonl"),
        *([] if SEAL else ["--unsealed"]),
    ]
    command = [sys.executable, "-m", "trueformer", "hunt", "bench", hunter, *words]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while len(running(mark)) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert [json.loads(row)["case"] for row in (tmp_path / "rows.jsonl").read_text().splitlines()] == [FIRST]
    assert "1/2" in printed, "the table of what is known comes all the same"
    assert not list(temporary.glob("hunt-*"))
    until = time.monotonic() + 20
    while running(mark) and time.monotonic() < until:
        time.sleep(0.1)
    assert running(mark) == []


def running(mark: str) -> list[str]:
    """The processes that sleep for so long, sealed in or not."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", mark.encode()]:
            found.append(path.parent.name)
    return found
