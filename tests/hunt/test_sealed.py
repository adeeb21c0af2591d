"""From inside a seal no answer can be found; what a hunter needs is there."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from trueformer.hunt.bug import bug
from trueformer.hunt.plant import planted
from trueformer.hunt.project import PACKAGE
from trueformer.hunt.sealed import sealed, why_not_sealed
from trueformer.hunt.workspace import fill

WHY_NOT = why_not_sealed()
needs_a_seal = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "sealed")
CHECKOUT = PACKAGE.parent.parent


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder, case = tmp_path / "workspace", bug("tunnel-vision")
    fill(folder, [case], planted([case]), minutes=None, measure=False)
    return folder


def run(workspace: Path, *command: str, **words) -> subprocess.CompletedProcess[str]:
    line, environment = sealed(workspace, list(command), **words)
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)


@needs_a_seal
def test_no_answer_can_be_found_inside(workspace):
    seeker = Path(__file__).with_name("seeker.py")
    secret = bug("tunnel-vision").lesson.split(".")[0].strip().splitlines()[0]
    assert secret in (PACKAGE / "hunt/catalogue/attention/tunnel-vision.toml").read_text(encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = run(workspace, "python", str(seeker), secret, port, str(CHECKOUT), allow=[seeker])
    assert done.returncode == 0, done.stderr
    assert json.loads((workspace / "found.json").read_text()) == {
        "imported": "",
        "files": [],
        "texts": [],
        "processes": [],
        "escapes": [],
        "network": False,
        "commits": "1",
        "environment": [],
    }


@needs_a_seal
def test_outside_of_the_seal_the_package_is_found(workspace):
    done = subprocess.run(
        [sys.executable, "-c", "import trueformer; print(trueformer.__file__)"],
        cwd=workspace.parent,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(PACKAGE / "__init__.py")


@needs_a_seal
def test_the_project_runs_inside(workspace):
    (workspace / "settings.json").write_text(json.dumps([{"experiment": "accumulate"}]))
    done = run(workspace, "python", "run.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((workspace / "metrics.json").read_text())["1"]["loss_gap"] < 1e-3


@needs_a_seal
def test_nothing_outside_can_be_written_and_variables_are_handed_through(workspace):
    script = 'echo "$TOKEN" > token; touch /usr/x 2>/dev/null && echo leak; ls /work /home /tmp | wc -l'
    done = run(workspace, "sh", "-c", script, environment={"TOKEN": "abc"})
    assert (workspace / "token").read_text() == "abc\n"
    assert "leak" not in done.stdout
    assert not Path("/usr/x").exists()
