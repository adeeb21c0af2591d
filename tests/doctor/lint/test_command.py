"""`trueformer lint`: exit codes, the terminal, JSON, SARIF, fixing, and the other linters."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from trueformer.cli import main
from trueformer.doctor.lint.peers import with_peers
from trueformer.doctor.lint.rule import RULES
from trueformer.doctor.lint.run import Outcome

CLEAN = "x = 1\n"
LOAD = "import torch\nweights = torch.load('a.pt')\n"
ADVICE = "def sample(logits, temperature):\n    return logits / temperature\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a configuration of its own and one file with a finding."""
    (tmp_path / "pyproject.toml").write_text("[tool.trueformer.lint]\n")
    (tmp_path / "a.py").write_text(LOAD)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "code"),
    [(CLEAN, 0), (ADVICE, 0), (LOAD, 1), (LOAD + ADVICE, 1), ("def f(:\n", 2), ("", 0)],
)
def test_the_exit_code_says_what_was_found(text: str, code: int, folder: Path):
    (folder / "a.py").write_text(text)
    assert main(["lint", str(folder)]) == code


def test_what_cannot_be_run_ends_with_2(folder: Path, capsys: pytest.CaptureFixture):
    assert main(["lint", str(folder / "nowhere")]) == 2
    assert "nowhere is not there" in capsys.readouterr().err
    assert main(["lint", str(folder), "--select", "source/unsafe-lode"]) == 2
    assert "no source rule source/unsafe-lode" in capsys.readouterr().err


def test_the_terminal_names_place_rule_and_remedy(folder: Path, capsys: pytest.CaptureFixture):
    (folder / "b.py").write_text("def f(:\n")
    (folder / "[red]c.py").write_text(ADVICE)
    main(["lint", str(folder)])
    said = capsys.readouterr().out
    assert f"{folder / 'a.py'}:2:11 source/unsafe-load torch.load without weights_only" in said
    assert RULES["source/unsafe-load"].remedy in said
    assert f"{folder / '[red]c.py'}:2:12 source/temperature" in said
    assert f"{folder / 'b.py'}: this is not Python that can be read" in said
    assert "1 finding, 1 of advice, in 3 files; 1 can be fixed by --fix; 1 problem in reading" in said


def test_rules_are_selected_and_ignored(folder: Path):
    assert main(["lint", str(folder), "--ignore", "source/unsafe-load"]) == 0
    assert main(["lint", str(folder), "--select", "source/zero-grad", "source/unpickle"]) == 0
    assert main(["lint", str(folder), "--select", "source/unsafe-load"]) == 1


def test_json_and_sarif_hold_the_findings(folder: Path):
    (folder / "b.py").write_text(ADVICE)
    report, log = folder / "report.json", folder / "log.sarif"
    main(["lint", str(folder), "--json", str(report), "--sarif", str(log)])
    found = json.loads(report.read_text())
    assert found["status"] == 1
    assert found["counts"] == {"source/temperature": 1, "source/unsafe-load": 1}
    assert [(f["line"], f["column"], f["fixable"]) for f in found["findings"]] == [
        (2, 11, True),
        (2, 12, False),
    ]
    results = json.loads(log.read_text())["runs"][0]["results"]
    assert [(r["ruleId"], r["level"]) for r in results] == [
        ("source/unsafe-load", "warning"),
        ("source/temperature", "note"),
    ]


def test_a_fix_is_shown_and_applied(folder: Path, capsys: pytest.CaptureFixture):
    assert main(["lint", str(folder), "--diff"]) == 1
    assert "+weights = torch.load('a.pt', weights_only=True)" in capsys.readouterr().out
    assert (folder / "a.py").read_text() == LOAD
    assert main(["lint", str(folder), "--fix", "--diff"]) == 0
    said = capsys.readouterr().out
    assert "+weights = torch.load('a.pt', weights_only=True)" in said
    assert "1 fixed" in said
    assert (folder / "a.py").read_text() == LOAD.replace("'a.pt'", "'a.pt', weights_only=True")
    assert main(["lint", str(folder), "--fix"]) == 0
    assert "0 fixed" in capsys.readouterr().out


def test_nothing_of_the_code_is_imported_nor_anything_heavy(folder: Path):
    """The action installs without torch and the rest of the stack, which linting must not need."""
    (folder / "a.py").write_text("import os\nos._exit(7)\nraise SystemExit(8)\n")
    program = (
        "import sys; from trueformer.cli import main; code = main(['lint', sys.argv[1]]);"
        "heavy = {'torch', 'numpy', 'safetensors', 'tokenizers', 'matplotlib', 'jaxtyping', 'filelock'};"
        "sys.exit(9 if heavy & set(sys.modules) else code)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


NOBODY = Outcome(hits=(), failures=(), files=1)


@pytest.mark.skipif(
    find_spec("torchfix") is None or find_spec("torch_preflight") is None, reason="needs the extra lint"
)
def test_the_other_linters_report_under_their_own_names(folder: Path):
    (folder / "b.py").write_text(
        "import torch\nimport torch.nn.functional as F\n\n\n"
        "def loss_of(logits, y):\n    return F.cross_entropy(torch.softmax(logits, -1), y)\n"
    )
    found = {(hit.rule, hit.path.name, hit.line) for hit in with_peers(NOBODY, [folder]).hits}
    assert ("torchfix/TOR102", "a.py", 2) in found
    assert ("torch-preflight/TG005", "b.py", 6) in found
    assert main(["lint", str(folder), "--select", "source/zero-grad", "--peers"]) == 1


def test_other_linters_that_are_missing_are_told_how_to_get(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trueformer.doctor.lint.peers.find_spec", lambda name: None)
    outcome = with_peers(NOBODY, [folder])
    assert [str(failure.path) for failure in outcome.failures] == ["torchfix", "torch-preflight"]
    assert all("pip install 'trueformer[lint]'" in failure.reason for failure in outcome.failures)
    assert outcome.status == 2


def test_another_linter_that_fails_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "broken").write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    (folder / "broken").chmod(0o755)
    monkeypatch.setattr("trueformer.doctor.lint.peers.sys.executable", str(folder / "broken"))
    monkeypatch.setattr("trueformer.doctor.lint.peers.find_spec", lambda name: True)
    reasons = [failure.reason for failure in with_peers(NOBODY, [folder]).failures]
    assert reasons == ["it could not be run: out of order"] * 2
