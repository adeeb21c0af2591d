"""Habits of the whole package that a reader of the code would check by eye."""

import ast
import re
from pathlib import Path

import trueformer

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
