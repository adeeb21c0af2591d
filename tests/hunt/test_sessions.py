"""A hunt as a person has it, from the command line, and every mistake on the way."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trueformer.cli import main
from trueformer.hunt import record as records
from trueformer.hunt.bug import bug
from trueformer.hunt.record import Record
from trueformer.hunt.score import most, points

CASE = "tunnel-vision"


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A state folder and a workspace of a hunt that has just been started."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.chdir(folder)
        assert main(["hunt", "start", CASE, "--minutes", "30"]) == 0
    return folder


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(begun, tmp_path) -> Path:
    """A copy of that workspace, with its record."""
    shutil.copytree(begun / "state", tmp_path / "state")
    return Path(shutil.copytree(begun / "hunt-1", tmp_path / "hunt-1", copy_function=shutil.copy2))


@pytest.fixture
def hunt(capsys):
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["hunt", *words])
        return code, *capsys.readouterr()

    return run


def repair(folder: Path) -> None:
    path = folder / "trueformer" / "nn" / "attention.py"
    path.write_text(path.read_text().replace("self.head_dim**0.5", "self.head_dim**-0.5"))


def test_the_report_has_numbers_of_this_code_and_of_sound_code(folder):
    report = (folder / "INCIDENT.md").read_text()
    assert bug(CASE).title in report
    assert "You have 30 minutes" in report
    row = next(line for line in report.splitlines() if line.startswith("| loss_halfway"))
    here, sound = (float(cell) for cell in row.split("|")[2:4])
    assert here > sound + bug(CASE).symptom.margin / 2
    for figure in re.findall(r"\]\((.*?)\)", report):
        assert (folder / figure).read_bytes().startswith(b"\x89PNG")


def test_from_start_to_a_solve(hunt, folder):
    code, said, _ = hunt("check", "--workspace", str(folder))
    assert code == 1
    assert "0 of 1 repaired" in said
    assert "attention/" not in said, "it says what does not hold, not where"
    code, said, _ = hunt("hint", "--workspace", str(folder))
    assert bug(CASE).hints[0].split()[0] in said
    assert hunt("reveal", "--workspace", str(folder))[0] == 2
    repair(folder)
    code, said, _ = hunt("check", "--workspace", str(folder / "trueformer" / "nn"))
    assert code == 0, said
    assert "9 of 10 points" in said
    assert hunt("hint", "--workspace", str(folder))[0] == 2, "a hint after a solve would only cost"
    code, said, _ = hunt("reveal", "--workspace", str(folder))
    assert "self.head_dim**-0.5" in said
    assert "attention/scale" in said
    code, said, _ = hunt("progress", "--export", "progress.csv")
    assert "solved: 1 easy" in said
    assert CASE in Path("progress.csv").read_text()
    assert hunt("progress", "--export", "progress.csv")[0] == 2, "nothing is overwritten"


def test_a_repair_that_breaks_something_else_earns_nothing(hunt, folder):
    repair(folder)
    path = folder / "trueformer" / "nn" / "plain.py"
    text = path.read_text()
    assert "torch.sqrt(mean_square + eps)" in text
    path.write_text(text.replace("torch.sqrt(mean_square + eps)", "torch.sqrt(mean_square)"))
    code, said, _ = hunt("check", "--workspace", str(folder))
    assert code == 1
    assert "1 of 1 repaired" in said
    assert points(records.every()[0]) == 0


def test_a_workspace_tells_nothing_of_the_case(begun):
    folder = begun / "hunt-1"
    told = [path for path in folder.rglob("*") if path.is_file() and CASE in path.read_text(errors="ignore")]
    assert told == []
    times = {path.stat().st_mtime for path in (folder / "trueformer").rglob("*.py")}
    assert len(times) == 1
    log = subprocess.run(["git", "log", "--oneline"], cwd=folder, capture_output=True, text=True).stdout
    assert len(log.splitlines()) == 1


def test_mistakes_are_told_in_one_line(hunt, tmp_path):
    for words, said in (
        (("start", "tunel-vision"), "did you mean tunnel-vision"),
        (("start",), "name a case"),
        (("start", CASE, "--random"), "not both"),
        (("start", "--random", "--bugs", "0"), "--bugs is 0"),
        (("list", "--component", "engine"), "no case of component 'engine'"),
        (("check",), "no workspace of a hunt"),
        (("progress", "--export", "a.txt"), ".json or .csv"),
    ):
        code, _, error = hunt(*words)
        assert code == 2, words
        assert said in " ".join(error.split()), error
    (tmp_path / "mine").mkdir()
    assert "is there already" in hunt("start", CASE, "--out", "mine")[2]


def test_a_workspace_that_moved_is_found_and_one_that_is_damaged_is_told_of(hunt, folder, tmp_path):
    folder = folder.rename(tmp_path / "moved")
    assert hunt("hint", "--workspace", str(folder))[0] == 0
    assert records.every()[0].workspace == str(folder)
    attention = folder / "trueformer" / "nn" / "attention.py"
    text = attention.read_text()
    attention.write_text(text + "\ndef broken(:\n")
    code, said, _ = hunt("check", "--workspace", str(folder))
    assert code == 1
    assert "not gradable" in said
    assert "SyntaxError" in said
    attention.unlink()
    assert "git checkout" in hunt("check", "--workspace", str(folder))[2]
    attention.write_text(text)
    record = records.every()[0]
    record.version = "0.0.0"
    record.save()
    assert "was made by trueformer 0.0.0" in hunt("check", "--workspace", str(folder))[2]
    shutil.rmtree(records.state_folder())
    assert "no record of this hunt" in hunt("check", "--workspace", str(folder))[2]
    (folder / ".hunt.json").write_text("{")
    assert "is damaged" in hunt("check", "--workspace", str(folder))[2]


def test_ctrl_c_while_a_workspace_is_made_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "trueformer", "hunt", "start", CASE]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob(".hunt-*/*/run.py")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_points_count_hints_and_time():
    record = Record(name="a1", bugs=[CASE], levels=["easy"], workspace="", minutes=10, started=0.0)
    assert points(record) == 0
    record.repaired, record.solved_at = [CASE], 600.0
    assert points(record) == most(record) == 10
    record.hints = 2
    assert points(record) == pytest.approx(7.5)
    record.solved_at = 600.0 + 20 * 60
    assert points(record) == pytest.approx(5.5)
    record.solved_at = 1e6
    record.hints = 4
    assert points(record) == 0, "never below"


def test_a_record_is_whole_json_with_a_name_that_stays_in_its_folder():
    record = Record(name="ab12", bugs=[CASE], levels=["easy"], workspace="w")
    record.save()
    assert json.loads((records.state_folder() / "ab12.json").read_text())["bugs"] == [CASE]
    with pytest.raises(ValueError, match="no name of a hunt"):
        records.load("../ab12")
