"""Attempts to fool the grader are named; an honest repair is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from trueformer.hunt.bug import bug
from trueformer.hunt.grade import LARGEST, grade
from trueformer.hunt.guard import reaching
from trueformer.hunt.plant import planted, write_sources
from trueformer.hunt.project import PACKAGE

CASE = "tunnel-vision"

BEFORE = {"nn/a.py": "import torch\nfrom pathlib import Path\n\n\ndef f(x):\n    return x\n"}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("torch.softmax = f", "assigns torch.softmax"),
        ("torch.nn.functional.softmax = f", "assigns torch.nn.functional.softmax"),
        ("setattr(torch, 'softmax', f)", "sets torch"),
        ("import sys", "uses sys"),
        ("from inspect import stack", "uses inspect"),
        ("import trueformer.laws.book", "uses trueformer.laws.book"),
        ("from trueformer.hunt.grader import graded", "uses trueformer.hunt.grader"),
        ("f.__globals__['x'] = 1", "uses .__globals__"),
        ("eval('1')", "uses eval"),
        ("__import__('os')", "uses __import__"),
        ("getattr(torch.sys, '_get' + 'frame')(1)", "looks into torch.sys"),
        ("vars(f)", "uses vars"),
        ("f.__dict__", "uses .__dict__"),
    ],
)
def test_what_reaches_for_the_grader_is_named(line, named):
    assert reaching(BEFORE, {"nn/a.py": BEFORE["nn/a.py"] + line + "\n"}) == [f"nn/a.py {named}"]


def test_an_honest_repair_is_left_alone():
    lines = [
        "import math",
        "import torch",
        "def f(self, x):",
        "    self.y = x.data = x",
        "    setattr(self, 'z', getattr(self, 'y', x))",
        "    self.model.eval()",
        "    return [m for m in self.modules()], torch.softmax(x, -1) * math.pi",
    ]
    assert reaching(BEFORE, {"nn/a.py": "\n".join(lines)}) == []


def test_what_was_there_before_is_no_reach():
    before = {"nn/a.py": "import sys\n\nprint(sys.argv)\n"}
    assert reaching(before, {"nn/a.py": "import sys\n\nprint(sys.argv, 1)\n"}) == []


@pytest.mark.parametrize(
    "damage", ["torch.softmax = torch.sigmoid", "torch.Tensor.softmax = torch.Tensor.sigmoid"]
)
def test_a_change_of_torch_while_grading_is_named(damage):
    start = "import torch, torch._dynamo\nfrom trueformer.hunt.guard import Untouched\nu = Untouched()\n"
    code = f"{start}{damage}\nprint(u.changes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"['{damage.split(' = ')[0]}']"


def handed_out(folder: Path) -> Path:
    return write_sources(planted([bug(CASE)]), folder / "trueformer")


def test_links_and_what_is_too_large_are_refused_unread(tmp_path):
    package = handed_out(tmp_path)
    (package / "nn" / "attention.py").unlink()
    (package / "nn" / "attention.py").symlink_to(PACKAGE / "nn" / "attention.py")
    (package / "models" / "more").symlink_to(PACKAGE / "models")
    (package / "large.py").write_text("#" * (LARGEST + 1))
    result = grade(package, [bug(CASE)], planted([bug(CASE)]))
    assert not result.solved
    assert result.fooled == (
        "trueformer/models/more is a link, not a file",
        "trueformer/nn/attention.py is a link, not a file",
        "trueformer/large.py is larger than 1,048,576 bytes",
    )


def test_a_project_that_rewrites_itself_while_it_is_graded_is_named(tmp_path):
    package = handed_out(tmp_path)
    path = package / "nn" / "norms.py"
    line = "Path(__file__).with_name('copied.py').write_text(Path(__file__).read_text())"
    path.write_text(f"{path.read_text()}\n\nfrom pathlib import Path\n\n{line}\n")
    result = grade(package, [bug(CASE)], planted([bug(CASE)]))
    assert result.fooled == ("the project rewrites itself while it is graded",)
    assert not (package / "nn" / "copied.py").exists(), "what is graded is a copy"


def test_a_graded_project_has_no_network():
    code = (
        "import socket\nfrom trueformer.hunt.guard import no_network\nno_network()\n"
        "try:\n    socket.create_connection(('127.0.0.1', 9))\nexcept PermissionError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "has no network" in done.stdout
