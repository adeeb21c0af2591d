"""Saves against real processes and real disks: killed, out of space, without permission."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from trueformer.training.checkpoints import save_checkpoint
from trueformer.training.folders import checkpoint_path

CHILD = Path(__file__).with_name("saving_child.py")


def run_child(scenario: str, folder: Path, *before: str) -> dict:
    command = [*before, sys.executable, str(CHILD), scenario, str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_t8_a_process_killed_at_any_moment_leaves_the_last_good_checkpoint(tmp_path):
    """Every finished save survives SIGKILL, and no half-written one is ever taken for a checkpoint."""
    result = run_child("kill", tmp_path)
    assert result["interrupted"] > 5, "hardly a kill hit a save: the test has shown nothing"
    assert result["last"] > 10
    assert result["left"] == ["step-00010000", f"step-{result['last']:08d}"][::-1]


def test_t12_a_file_cut_short_by_the_system_is_an_error_and_is_undone(tmp_path):
    result = run_child("limit", tmp_path)
    for size, error in result["errors"].items():
        assert error.startswith("OSError: "), (size, error)
        assert "cannot save the checkpoint" in error
        assert "step-00000002: File too large" in error
    assert result["latest"] == 1
    assert result["after"] == "'step-00000002'"


def test_t12_free_space_is_checked_before_writing(tmp_path):
    huge = torch.zeros(1).expand(1 << 60)  # says it is 4 EB, and takes 4 bytes
    with pytest.raises(OSError, match=r"4611686018431\.\d MB are needed and [\d.]+ MB are free") as raised:
        save_checkpoint(
            checkpoint_path(tmp_path, 1),
            model_tensors={"w": huge},
            optimizer_tensors={},
            state={},
            config={},
            tokenizer=None,
        )
    assert "keep fewer checkpoints" in str(raised.value)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_t12_a_full_file_system_is_an_error_and_is_undone(tmp_path):
    mount = f'mount -t tmpfs -o size=8m tmpfs {tmp_path} && exec "$@"'
    space = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if subprocess.run([*space, "true"], capture_output=True).returncode:
        pytest.skip(reason="this system lets no process mount a small file system of its own")
    result = run_child("full", tmp_path, *space)
    assert "8.4 MB" not in result["before"]
    assert "12.6 MB are needed and 7." in result["before"]
    assert "OSError: [Errno 28] cannot save" in result["middle"]
    assert result["middle"].endswith("No space left on device")
    assert (result["latest"], result["left"]) == (1, ["step-00000001"])


@pytest.fixture(scope="module")
def as_ordinary_user():
    # Not tmp_path: another user must be able to get there.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        run = Path(folder) / "run"
        run.mkdir()
        yield run_child("unprivileged", run)
        run.chmod(0o755)


def test_t9_no_permission_is_an_error_and_never_no_checkpoint(as_ordinary_user):
    for what in ("look into an unreadable folder", "list an unreadable folder"):
        assert as_ordinary_user[what].startswith("PermissionError: "), as_ordinary_user[what]
        assert "cannot look for checkpoints in" in as_ordinary_user[what]
    for what in ("read an unreadable file", "read an unreadable checkpoint"):
        assert as_ordinary_user[what].startswith("PermissionError: "), as_ordinary_user[what]
        assert "cannot read the checkpoint" in as_ordinary_user[what]
        assert "step-00000003" in as_ordinary_user[what]


def test_t9_a_read_only_folder_is_an_error_when_saving(as_ordinary_user):
    error = as_ordinary_user["save in a read-only folder"]
    assert error.startswith("PermissionError: ")
    assert "cannot save the checkpoint" in error
    assert "step-00000004: Permission denied" in error
    assert as_ordinary_user["metrics in a read-only folder"].startswith("PermissionError: ")


def test_r16_a_checkpoint_that_cannot_be_removed_is_a_warning(as_ordinary_user):
    assert as_ordinary_user["prune a read-only folder"] == "[]"
    assert len(as_ordinary_user["prune warnings"]) == 2
    assert "could not remove the old checkpoint" in as_ordinary_user["prune warnings"][0]
    assert "Permission denied" in as_ordinary_user["prune warnings"][0]
    assert as_ordinary_user["still there"] == ["step-00000001", "step-00000002", "step-00000003"]
