"""An interview as it goes: prepared, sat in a seal by programs that play the candidate, and reported on."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trueformer.cli import main
from trueformer.hunt import record as records
from trueformer.hunt.bug import bug
from trueformer.hunt.interviews import sitting
from trueformer.hunt.interviews.interview import Interview, chosen, interviews_folder, opened, prepare
from trueformer.hunt.interviews.report import report
from trueformer.hunt.interviews.sitting import sit
from trueformer.hunt.project import PACKAGE
from trueformer.hunt.sealed import why_not_sealed

WHY_NOT = why_not_sealed()
needs_a_seal = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "sealed")
CASE = "tunnel-vision"
MEND = "sed -i 's/self.head_dim\\*\\*0.5/self.head_dim**-0.5/' trueformer/nn/attention.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A state folder, and an interview of three cases beside it, the first of which is CASE."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        cases = [bug(CASE), *(case for case in chosen((), 5, None, 3) if case.component != "attention")][:3]
        prepare(folder / "ada", cases, minutes=5, hints=1, candidate="Ada <b>", measure=False)
    return folder


@pytest.fixture
def ada(made, tmp_path, monkeypatch) -> Path:
    """A copy of it that nobody has sat in."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "state", tmp_path / "state")
    return Path(shutil.copytree(made / "ada", tmp_path / "ada", symlinks=True, copy_function=shutil.copy2))


def sh(place: Path, script: str) -> str:
    """Sits and runs a shell script; what it wrote to `said`."""
    assert sit(place, ["sh", "-c", f"{{ {script}\n}} > /workspace/said 2>&1"]) == 0
    return (place / "said").read_text()


def only(place: Path, *cases: str) -> Interview:
    """The interview with no other cases, so that grading it is quick."""
    interview = opened(place)
    interview.cases = {case: interview.cases[case] for case in cases}
    interview.save()
    return interview


def test_cases_are_drawn_of_different_components_and_the_easiest_come_first():
    cases = chosen((), 4, None, 11)
    assert len({case.component for case in cases}) == 4
    assert [case.weight for case in cases] == sorted(case.weight for case in cases)
    assert chosen((), 4, None, 11) == cases
    assert [case.id for case in chosen((CASE,), 3, None, None)] == [CASE]


def test_mistakes_are_told_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    for words, said in (
        (("prepare", "there"), "is there already"),
        (("prepare", "x", "--cases", "99"), "--cases is 99: expected 1 to"),
        (("prepare", "x", "tunel-vision"), "did you mean tunnel-vision"),
        (("prepare", "x", CASE, CASE), "named twice"),
        (("prepare", "x", CASE, "--seed", "1"), "leave them out, or the ids"),
        (("prepare", "x", "--minutes", "0"), "--minutes is 0: expected more than 0"),
        (("prepare", "x", "--hints", "5"), "--hints is 5: expected 0 to 4"),
        (("prepare", "x", "--candidate", "a\x1b[2J"), "printable"),
        (("sit", "there"), "no interview that is known here"),
        (("report", "x"), "no interview that is known here"),
        (("report", "x", "--out", "there"), "is there already"),
        (("report", "x", "--json", "a/b.json"), "make it first"),
    ):
        assert main(["hunt", "interview", *words]) == 2, words
        assert said in " ".join(capsys.readouterr().err.split()), words
    assert not Path("x").exists()


def test_the_folder_tells_nothing_of_the_cases(ada):
    rules = (ada / "INTERVIEW.md").read_text()
    assert "5 minutes" in rules
    assert "python hint.py" in rules
    for folder, name in opened(ada).cases.items():
        (planted,) = (bug(id) for id in records.load(name).bugs)
        texts = {path: path.read_text(errors="ignore") for path in ada.rglob("*") if path.is_file()}
        assert [path for path, text in texts.items() if planted.id in text] == []
        assert planted.component not in rules
        incident = (ada / folder / "INCIDENT.md").read_text()
        assert planted.title in incident
        assert "python check.py" in incident
        assert "trueformer hunt" not in incident + rules
        assert (ada / folder / "hint.py").is_file()
        log = subprocess.run(["git", "status", "--short"], cwd=ada / folder, capture_output=True, text=True)
        assert log.stdout == "", "the scripts are of its one commit"


def test_hints_and_answers_wait_for_the_report_and_progress_does_not_tell(ada, capsys):
    place = ("--workspace", str(ada / "case-1"))
    assert main(["hunt", "hint", *place]) == 0
    assert main(["hunt", "hint", *place]) == 2
    assert "is of an interview, which allows 1 hint" in capsys.readouterr().err
    assert main(["hunt", "reveal", "--give-up", *place]) == 2
    assert "reveals nothing before" in capsys.readouterr().err
    assert main(["hunt", "progress"]) == 0
    assert "no hunt yet" in capsys.readouterr().out
    for name in opened(ada).cases.values():
        record = records.load(name)
        record.allowed = None
        record.save()
    assert main(["hunt", "reveal", "--give-up", *place]) == 0
    assert CASE in capsys.readouterr().out


@needs_a_seal
def test_a_candidate_solves_one_breaks_one_and_leaves_one(ada, capsys):
    said = sh(
        ada,
        f"""cd /workspace/case-1; python hint.py; echo $?; python hint.py; echo $?; {MEND}; python check.py; echo $?
        cd ../case-2; echo 'def broken(:' >> trueformer/nn/norms.py; python check.py; echo $?""",
    )
    assert bug(CASE).hints[0].split()[0] in said
    assert "hint 1 of 1, 1 points\n0\n" in said
    assert "no more hints here: 1 allowed in each case\n2\n" in said
    assert "solved: all" in said
    assert "behaviours hold\n0\n" in said
    assert "not gradable: SyntaxError" in said
    assert said.endswith("1\n")
    (ada / "case-3" / "trueformer" / "nn" / "norms.py").write_text("late = 1\n")
    out, data = ada.parent / "r.html", ada.parent / "r.json"
    assert main(["hunt", "interview", "report", str(ada), "--out", str(out), "--json", str(data)]) == 0
    printed = capsys.readouterr().out
    assert "1 of 3 solved" in printed
    found = json.loads(data.read_text())
    one, two, three = found["cases"]
    assert [case["state"] for case in found["cases"]] == ["solved", "not solved", "not solved"]
    assert (one["points"], one["of"], one["hints"], one["checks"]) == (9, 10, 1, 1)
    assert 0 < one["solved_at"] < found["used"] < 300
    assert '+            "scale": self.head_dim**-0.5,' in one["difference"]
    assert "self.head_dim**-0.5" in one["original"]
    assert (one["files"], one["lines"], one["late"]) == (1, 2, [])
    assert "SyntaxError" in two["error"]
    assert three["late"] == ["nn/norms.py"]
    assert three["asked"] == []
    page = out.read_text()
    assert "Ada &lt;b&gt;" in page
    with pytest.raises(ValueError, match="was reported on"):
        sit(ada, ["true"])
    assert main(["hunt", "reveal", "--give-up", "--workspace", str(ada / "case-1")]) == 0


@needs_a_seal
def test_the_clock_ends_a_sleeping_candidate_who_is_told_first(ada):
    interview = opened(ada)
    interview.used = 5 * 60 - 2.0
    interview.save()
    script = f"trap 'echo told > told; exit' TERM; while :; do sleep 0.1; done; : {ada}"
    command = [
        sys.executable,
        "-m",
        "trueformer",
        "hunt",
        "interview",
        "sit",
        str(ada),
        "--",
        "bash",
        "-c",
        script,
    ]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 40
    assert "0:02 left" in done.stderr
    assert "the time is over" in done.stderr
    assert (ada / "told").read_text() == "told\n"
    assert leftover(ada) == []
    assert not list(ada.parent.glob(".seal*"))
    with pytest.raises(ValueError, match=r"5 minutes of .* are over"):
        sit(ada, ["true"])


@needs_a_seal
def test_the_candidate_is_warned_before_the_end_and_what_is_left_of_the_time_is_kept(ada, capfd, monkeypatch):
    monkeypatch.setattr(sitting, "WARNING", 5 * 60 - 0.5)
    assert sit(ada, ["sleep", "1.5"]) == 0
    first, warned, kept = [line for line in capfd.readouterr().err.split("──") if " left" in line]
    assert "5:00 left; read" in first
    assert warned in (" 4:59 left ", " 5:00 left ")
    assert "sit again" in kept
    used = opened(ada).used
    assert 1.5 < used < 20
    assert sit(ada, ["sleep", "0.5"]) == 0
    assert opened(ada).used > used + 0.5


@needs_a_seal
def test_at_a_terminal_ctrl_c_reaches_the_candidates_program_alone(ada):
    master, slave = os.openpty()
    command = [sys.executable, "-m", "trueformer", "hunt", "interview", "sit", str(ada)]
    environment = {**os.environ, "SHELL": "/bin/sh", "TERM": "dumb"}
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    ) as process:
        said = b""
        for typed, expected in (
            (b"", b"interview> "),
            (b"touch up; sleep 1000\n", b"sleep 1000"),
            (b"\x03", b"interview> "),
            (b"echo $?-after\n", b"130-after"),
            (b"x" * 20000 + b"\x15exit\n", b"sit again to go on"),
        ):
            os.write(master, typed)
            said = b""
            while expected not in said and select.select([master], [], [], 30.0)[0]:
                said += os.read(master, 4096)
            assert expected in said
            if b"sleep" in typed:
                until(lambda: (ada / "up").exists())
        assert process.wait(60) == 0
    os.close(master)
    os.close(slave)
    assert leftover(ada) == []


def leftover(place: Path) -> list[str]:
    """Processes but this one that have the interview's folder in their command; dead ones have none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            found += [words] if str(place) in words and process.name != str(os.getpid()) else []
    return found


@needs_a_seal
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whoever_ends_the_sitting_ends_the_candidate_and_the_clock_stops(ada, which):
    script = f"touch /workspace/began; sleep 1000; : {ada}"
    command = [
        sys.executable,
        "-m",
        "trueformer",
        "hunt",
        "interview",
        "sit",
        str(ada),
        "--",
        "sh",
        "-c",
        script,
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: (ada / "began").exists())
        with pytest.raises(ValueError, match="being sat in or reported on"):
            report(ada)
        process.send_signal(which)
        _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    until(lambda: leftover(ada) == [])
    interview = opened(ada)
    assert interview.began is not None
    if which != signal.SIGKILL:
        assert process.returncode == 130
        assert 0 < interview.used < 60
        assert set(interview.left) == set(interview.cases)


def until(holds, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@needs_a_seal
def test_no_answer_can_be_found_while_sitting(ada):
    seeker = Path(__file__).parent.parent / "seeker.py"
    shutil.copy(seeker, ada)
    secret = bug(CASE).lesson.split(".")[0].strip().splitlines()[0]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        sit(ada, ["python", "seeker.py", secret, port, str(PACKAGE.parent.parent)])
    found = json.loads((ada / "found.json").read_text())
    assert found == {
        "imported": "",
        "files": [],
        "texts": [],
        "processes": [],
        "escapes": [],
        "network": False,
        "commits": "",
        "environment": [],
    }


SPY = """
import os, tomllib
from pathlib import Path
cases, sound = [], []
for root, folders, files in os.walk('/'):
    folders[:] = [name for name in folders if name not in ('proc', 'torch')]
    cases += [f'{root}/{name}' for name in files if 'catalogue' in root and name.endswith('.toml')]
    sound += [name for name in files if name == 'attend.py' and not root.startswith('/workspace')]
try:
    Path('/workspace/case-1').mkdir(parents=True)
    Path('/workspace/case-1/leak').write_text(str(cases))
except OSError:
    pass
told = [(Path(p).parent.name, Path(p).stem, tomllib.loads(Path(p).read_text())['lesson']) for p in cases]
raise ValueError(f'{told} {sound}' + 9999 * ' a')
"""


@needs_a_seal
def test_code_that_is_graded_cannot_carry_answers_in(ada):
    only(ada, "case-1")
    (ada / "spy.py").write_text(SPY)
    said = sh(ada, "cd /workspace/case-1; cat ../spy.py >> trueformer/nn/attention.py; python check.py")
    assert "ValueError: [('case', 'case', '')] []" in said, "one case without texts, and no sound stack"
    assert not (ada / "case-1" / "leak").exists()
    (asked,) = opened(ada).asked
    assert len(asked.error) <= 300
    assert len(said) < 500


TALK = """
import os, socket
def say(data, end=True):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.environ['INTERVIEW'])
        s.sendall(data)
        if end:
            s.shutdown(socket.SHUT_WR)
        print(s.recv(1000).decode())
for data in (b'', b'check ../case-1', b'check /etc\\n', b'grade case-1\\n', b'\\xff\\0' * 30, b'check case-1 \\n'):
    say(data)
say(b'check nothing\\n')
try:
    say(b'x' * 1000000)
except OSError as error:
    print('too much')
say(b'che', end=False)
os.unlink('case-1/trueformer/nn/norms.py'); os.symlink('/etc/passwd', 'case-1/trueformer/nn/norms.py')
say(b'check case-1\\n')
"""


@needs_a_seal
def test_garbage_on_the_socket_is_refused_and_the_next_is_answered(ada):
    (ada / "talk.py").write_text(TALK)
    began = time.monotonic()
    said = sh(ada, "python talk.py")
    assert time.monotonic() - began < 60
    assert said.count("not understood") >= 7
    assert "not gradable" in said
    assert "root:" not in said
    assert [asked.what for asked in opened(ada).asked] == ["check"]


HOSTILE = {
    "a link to sound code": "rm -r trueformer; ln -s {package} trueformer",
    "a folder that is a link": "rm -r trueformer/nn; ln -s {package}/nn trueformer/nn",
    "a file that is a link": "ln -sf {package}/nn/attention.py trueformer/nn/attention.py",
    "a huge file": "truncate -s 10G trueformer/nn/attention.py",
    "a pipe": "rm trueformer/nn/attention.py; mkfifo trueformer/nn/attention.py",
    "a device of folders": "d=trueformer; for i in 1 2 3 4 5 6 7 8 9 10; do d=$d/d; mkdir $d; done",
    "too many files": "for i in $(seq 600); do : > trueformer/x$i.py; done",
    "a file less": "rm trueformer/nn/attention.py",
    "no project": "rm -r trueformer",
    "nothing": "cd ..; rm -rf case-1",
    "a case that is a link": "cd ..; rm -rf case-1; ln -s case-2 case-1",
    "another's mark": "echo '{{}}' > .hunt.json; rm ../.interview.json; rm -r trueformer",
}


@needs_a_seal
def test_a_hostile_workspace_gets_a_clear_report(ada):
    only(ada, "case-1")
    kept = ada.parent / "kept"
    shutil.copytree(ada, kept)
    for name, script in HOSTILE.items():
        if (ada / "case-1").is_symlink():
            (ada / "case-1").unlink()
        shutil.rmtree(ada)
        shutil.copytree(kept, ada)
        subprocess.run(["sh", "-c", script.format(package=PACKAGE)], cwd=ada / "case-1", check=True)
        began = time.monotonic()
        (case,) = report(ada).cases
        assert time.monotonic() - began < 20, name
        assert (case.state, case.points) == ("not solved", 0), name
        assert case.error, name
        assert "expected" in case.error or "git checkout" in case.error or "remove" in case.error, (
            name,
            case.error,
        )


def test_an_interview_that_moved_is_found_and_one_that_is_damaged_is_told_of(ada):
    moved = ada.rename(ada.parent / "moved")
    assert opened(moved).folder == str(moved)
    interview = opened(moved)
    interview.version = "0.0.0"
    interview.save()
    with pytest.raises(ValueError, match=r"was made by trueformer 0\.0\.0"):
        opened(moved)
    (moved / ".interview.json").write_text('{"interview": "../../x"}')
    (interviews_folder() / f"{interview.name}.json").unlink()
    with pytest.raises(ValueError, match="no interview that is known here"):
        opened(moved)
    (interviews_folder() / "x.json").write_text("[]")
    with pytest.raises(ValueError, match="is no record of an interview"):
        opened(moved)
