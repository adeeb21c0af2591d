"""The training script runs, learns and repeats."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "nanogpt_style_train.py"


def run(folder):
    command = [sys.executable, "-W", "error", str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return re.findall(r"loss (\d+\.\d+)", done.stdout)


def test_the_script_learns_the_same_each_time_and_leaves_nothing(tmp_path):
    losses = run(tmp_path)
    assert losses == run(tmp_path)
    assert float(losses[0]) > 2.4  # ln 13
    assert float(losses[-1]) < 2.2
