"""Fixes: comments and layout stay, a second time changes nothing, files are replaced whole."""

import subprocess
import sys
import tokenize
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.doctor.lint.config import LintConfig
from trueformer.doctor.lint.files import Source
from trueformer.doctor.lint.fix import fix_files, fixed
from trueformer.doctor.lint.run import Outcome, lint, lint_source


def fix(text: str) -> str:
    """A text after one round of fixes."""
    path = Path("a.py")
    hits = lint_source(path, Source(text=text), LintConfig().rules(path))
    return fixed(text, [hit.fix for hit in hits if hit.fix])


def comments(text: str) -> list[str]:
    """The comments of a text, in order."""
    return [t.string for t in tokenize.generate_tokens(StringIO(text).readline) if t.type == tokenize.COMMENT]


MODULE = """import torch
from torch import nn
class Rotary(nn.Module):
    def __init__(self, n):
        super().__init__()
        {}
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("torch.load('a')", "torch.load('a', weights_only=True)"),
        ("torch.load('a',)", "torch.load('a', weights_only=True,)"),
        ("torch.load(f='a')  # why", "torch.load(f='a', weights_only=True)  # why"),
        ("é = 'é'; torch.load(  'a' )", "é = 'é'; torch.load(  'a', weights_only=True )"),
        ("torch.load(\n    'a',  # path\n)", "torch.load(\n    'a', weights_only=True,  # path\n)"),
        ("torch.load('a'  # path\n)", "torch.load('a', weights_only=True  # path\n)"),
        ("torch.load(torch.load('a'))", "torch.load(torch.load('a', weights_only=True), weights_only=True)"),
    ],
)
def test_a_load_gets_its_argument(before: str, after: str):
    assert fix(f"import torch\n{before}\n") == f"import torch\n{after}\n"


def test_what_somebody_decided_is_left_alone():
    text = "import torch\ntorch.load('a', weights_only=False)\ntorch.load('a', pickle_module=dill)\n"
    assert fix(text) == text


def test_validation_is_no_longer_shuffled():
    text = "from torch.utils.data import DataLoader\nval_loader = DataLoader(val, shuffle = True)  # why\n"
    assert fix(text) == text.replace("True", "False")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "self.t = torch.arange(n)  # why",
            'self.register_buffer("t", torch.arange(n), persistent=False)  # why',
        ),
        (
            "self.a = 1; self.t = torch.zeros(n); self.b = 2",
            'self.a = 1; self.register_buffer("t", torch.zeros(n), persistent=False); self.b = 2',
        ),
        (
            "self.t = (torch.arange(n)  # table\n            .float())",
            'self.register_buffer("t", (torch.arange(n)  # table\n            .float()), persistent=False)',
        ),
    ],
)
def test_a_plain_tensor_becomes_a_buffer(before: str, after: str):
    assert fix(MODULE.format(before)) == MODULE.format(after)


@pytest.mark.parametrize(
    "statement",
    ["self.a, self.b = torch.zeros(n), torch.ones(n)", "self.a = self.b = torch.zeros(n)"],
)
def test_assignments_of_several_are_reported_but_not_edited(statement: str):
    assert fix(MODULE.format(statement)) == MODULE.format(statement)
    early = MODULE.replace("super().__init__()\n        {}", "{}\n        super().__init__()")
    assert fix(early.format("self.t = torch.zeros(n)")) == early.format("self.t = torch.zeros(n)")


def test_an_evaluation_is_decorated_below_what_it_has():
    body = "def evaluate(model, loader):  # all of it\n    return [model(x) for x in loader]\n"
    text = f"import torch\n\n# why\n@timed\n{body}"
    assert fix(text) == f"import torch\n\n# why\n@timed\n@torch.no_grad()\n{body}"
    assert fix(body) == body  # torch is not imported by that name


def test_dropout_is_gated():
    text = """import torch.nn.functional as F
from torch import nn
class Block(nn.Module):
    def forward(self, q, k, v):
        q = F.dropout(q, self.p)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.p,  # why
            is_causal=True)
"""
    after = text.replace("q, self.p)", "q, self.p, training=self.training)")
    assert fix(text) == after.replace("dropout_p=self.p,", "dropout_p=self.p if self.training else 0.0,")


def test_a_total_of_losses_is_detached():
    text = (
        "for b in bs:\n    opt.zero_grad()\n    loss = f(b)\n    loss.backward()\n    total += loss  # why\n"
    )
    assert fix(text) == text.replace("+= loss", "+= loss.detach()")


LINES = st.sampled_from(
    [
        "torch.load('a')  # one\n",
        "torch.load(\n    'a',  # path\n    map_location='cpu',  # where\n)\n",
        "x = {'é': torch.load('a'  # two\n)}\n",
        "val_loader = DataLoader(val, shuffle=True)  # three\n",
        "class A(nn.Module):\n def __init__(self):\n  super().__init__()\n  self.t = torch.ones(3)  # t\n",
        "def evaluate(model, xs):  # four\n    return [model(x) for x in xs]\n",
        "for x in xs:\n    loss = f(x)\n    loss.backward()  # five\n    total += loss\n",
        "\n\n# alone\n",
        "if True:\n\tx = torch.load('b')\t# tab\n",
    ]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(LINES, max_size=8), st.booleans())
def test_fixing_keeps_comments_and_ends(lines: list[str], windows: bool):
    head = "import torch\nfrom torch import nn\nfrom torch.utils.data import DataLoader\n"
    text = head + "".join(lines)
    text = text.replace("\n", "\r\n") if windows else text
    once = fix(text)
    assert comments(once) == comments(text)
    assert fix(once) == once
    ends = "\r\n" if windows else "\n"
    assert once.count("\n") == once.count(ends) == text.count("\n") + once.count("@torch.no_grad()")


def outcome(path: Path) -> Outcome:
    """All rules over a path."""
    return lint([path], LintConfig())


def test_files_are_replaced_whole_with_their_encoding_and_permissions(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_bytes("# coding: latin-1\nimport torch\r\ntorch.load('é')\r\n".encode("latin-1"))
    path.chmod(0o640)
    link = tmp_path / "link.py"
    link.symlink_to(path)
    count, diff = fix_files(outcome(link), write=True)
    assert count == 1
    assert "+torch.load('é', weights_only=True)" in diff
    fixed_ = "# coding: latin-1\nimport torch\r\ntorch.load('é', weights_only=True)\r\n"
    assert path.read_bytes() == fixed_.encode("latin-1")
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.py", "link.py"]


def test_without_writing_nothing_changes(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_text("import torch\ntorch.load('a')")
    _, diff = fix_files(outcome(path), write=False)
    assert path.read_text() == "import torch\ntorch.load('a')"
    assert diff.splitlines()[-2:] == ["-torch.load('a')", "+torch.load('a', weights_only=True)"]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path):
    """The limit on the size of files stands for the disk; it is set in a process of its own."""
    path = tmp_path / "a.py"
    text = "import torch\ntorch.load('a')\n" + "# a comment\n" * 1000
    path.write_text(text)
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from trueformer.cli import main; sys.exit(main(['lint', sys.argv[1], '--fix']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert path.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]
