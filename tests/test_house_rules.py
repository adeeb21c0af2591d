"""Habits of the whole package that a reader of the code would check by eye."""

import ast
import re
from pathlib import Path

import pytest

import trueformer

SOURCES = sorted(Path(trueformer.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_t28_broad_exceptions_are_raised_again_or_explained(path):
    """`except Exception` that neither raises nor gives a reason hides the error that matters."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        broad = node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
        raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
        explained = re.search(r"# noqa: BLE001 - \w+", lines[node.lineno - 1])
        assert not broad or raises or explained, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_r1_r7_no_model_or_layer_looks_for_non_finite_numbers(path):
    """The loop looks once a step at two numbers; an assert in a forward pass costs time and kills the run."""
    if path.parent.name in ("nn", "models"):
        assert "isfinite" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_r3_nothing_is_unpickled(path):
    """Unpickling runs whatever code the file names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "cloudpickle", "dill", "joblib", "shelve"} & set(names)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert ast.unparse(node.func) not in ("torch.load", "torch.save")
            assert not any(keyword.arg == "allow_pickle" for keyword in node.keywords)
