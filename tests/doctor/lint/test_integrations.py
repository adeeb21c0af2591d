"""The pre-commit hook and the GitHub Action do what they say, as far as it can be run here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]


def lint_step() -> str:
    """The script of the action's step that lints."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    (script,) = [step["run"] for step in action["runs"]["steps"] if step.get("id") == "lint"]
    return script


def step(folder: Path, paths: str) -> str:
    """Run that script in a folder as the host's shell would; what it says to the steps after it."""
    env = os.environ | {
        "PATHS": paths,
        "REPORT": str(folder / "report.sarif"),
        "GITHUB_OUTPUT": str(folder / "output"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", lint_step()]
    subprocess.run(shell, cwd=folder, env=env, check=True, capture_output=True)
    return (folder / "output").read_text()


@pytest.mark.parametrize(
    ("text", "code", "results"),
    [("x = 1\n", 0, 0), ("import torch\ntorch.load('a')\n", 1, 1), ("def f(:\n", 2, 0)],
)
def test_the_action_writes_sarif_and_hands_the_exit_code_on(
    text: str, code: int, results: int, tmp_path: Path
):
    (tmp_path / "a.py").write_text(text)
    (tmp_path / "pyproject.toml").touch()
    report = tmp_path / "report.sarif"
    assert step(tmp_path, "a.py").splitlines() == [f"code={code}", f"report={report}"]
    assert len(json.loads(report.read_text())["runs"][0]["results"]) == results


def test_the_action_has_no_report_to_upload_where_lint_could_not_start(tmp_path: Path):
    (tmp_path / "report.sarif").write_text("from another run")
    assert step(tmp_path, "nowhere") == "code=2\n"


def test_the_hook_runs_a_command_that_there_is(tmp_path: Path):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, *arguments = hook["entry"].split()
    file = tmp_path / "a.py"
    file.write_text("import torch\ntorch.load('a')\n")
    done = subprocess.run(
        [Path(sys.executable).parent / program, *arguments, file], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "source/unsafe-load" in done.stdout
