"""Habits of the whole package that a reader of the code would check by eye."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import trueformer

ROOT = Path(__file__).parent.parent
SOURCES = sorted(Path(trueformer.__file__).parent.rglob("*.py"))


def nodes(kind):
    """Every node of that kind in the package, with its file."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield path, node


def test_t28_broad_exceptions_are_raised_again_or_explained():
    """`except Exception` that neither raises nor gives a reason hides the error that matters."""
    for path, node in nodes(ast.ExceptHandler):
        lines = path.read_text(encoding="utf-8").splitlines()
        broad = node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
        raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        explained = re.search(r"# noqa: BLE001 - \w+", lines[node.lineno - 1])
        assert not broad or raises or explained, f"{path.name}:{node.lineno}"


def test_r1_r7_no_model_or_layer_looks_for_non_finite_numbers():
    """The loop looks once a step at two numbers; an assert in a forward pass costs time and kills the run."""
    layers = [path for path in SOURCES if path.parent.name in ("nn", "models")]
    assert len(layers) > 5
    assert not [path.name for path in layers if "isfinite" in path.read_text(encoding="utf-8")]


def test_r3_nothing_is_unpickled():
    """Unpickling runs whatever code the file names."""
    for path, node in nodes(ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
        assert not {"pickle", "cloudpickle", "dill", "joblib", "shelve"} & set(names), path.name
    for path, node in nodes(ast.Call):
        assert ast.unparse(node.func) not in ("torch.load", "torch.save"), path.name
        assert not any(keyword.arg == "allow_pickle" for keyword in node.keywords), path.name


def test_a1_t6_tests_and_benchmarks_import_only_names_that_exist():
    for path in [*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trueformer"):
                module = importlib.import_module(str(node.module))
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{path}: {node.module} has no {missing[0]}"


def test_a7_a_failing_test_fails_the_run(tmp_path):
    (tmp_path / "test_one.py").write_text("def test_one():\n    assert False\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    script = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in script
    assert not re.search(r"\|\| *(true|:)", script + (ROOT / "Makefile").read_text())
    assert not re.search(r"^\t-", (ROOT / "Makefile").read_text(), re.MULTILINE)  # make would go on


def test_r20_every_dependency_has_a_tested_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = project["dependencies"] + [name for extra in extras for name in extra]
    assert len(wanted) > 10
    assert [name for name in wanted if not (">=" in name and "<" in name) and "trueformer[" not in name] == []
    assert project["requires-python"] == ">=3.11"


def test_t4_the_package_imports_in_a_fresh_process():
    program = "import trueformer; print([getattr(trueformer, name).__name__ for name in trueformer.__all__])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def is_overload(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_r21_whatever_is_public_says_what_it_is(path):
    """Methods that override another's have its documentation."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(module)
    for node in module.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        assert ast.get_docstring(node), node.name
        bases = [ast.unparse(base) for base in getattr(node, "bases", [])]
        for method in node.body if isinstance(node, ast.ClassDef) and bases in ([], ["Protocol"]) else []:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                assert ast.get_docstring(method) or is_overload(method), f"{node.name}.{method.name}"


def test_r22_every_function_says_what_it_returns():
    unsaid = [f"{path.name}:{node.lineno}" for path, node in nodes(ast.FunctionDef) if node.returns is None]
    assert unsaid == []
