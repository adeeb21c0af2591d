"""What is read: folders, notebooks, and files that are no Python at all."""

import json
import os
import re
from pathlib import Path

import pytest

from trueformer.doctor.lint.config import LintConfig
from trueformer.doctor.lint.files import LARGEST, find, read
from trueformer.doctor.lint.run import Outcome, lint

LOAD = "import torch\nweights = torch.load('a.pt', weights_only=False)\n"


def outcome(path: Path) -> Outcome:
    """All rules over a path."""
    return lint([path], LintConfig())


def notebook(*cells: dict) -> str:
    """A notebook of these cells."""
    return json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def test_folders_are_searched_without_those_of_tools(tmp_path: Path):
    for name in (
        "a.py",
        "b/c.py",
        "b/d.txt",
        ".venv/e.py",
        "node_modules/f.py",
        "b/__pycache__/g.py",
        "build/h.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    assert [path.name for path in find([tmp_path, tmp_path / "a.py"])] == ["a.py", "c.py"]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="nowhere is not there"):
        list(find([tmp_path / "nowhere"]))


def test_a_loop_of_links_ends(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(list(find([tmp_path]))) == 1


def test_a_notebook_is_reported_by_cell_and_line(tmp_path: Path):
    path = tmp_path / "a.ipynb"
    code = [
        "%matplotlib inline\n",
        "!pip install torch\n",
        "files = !ls\n",
        "import torch\n",
        "torch.load?\n",
    ]
    cells = (
        {"cell_type": "markdown", "source": "torch.load(x"},
        {"cell_type": "code", "source": code},
        {"cell_type": "code", "source": "%%bash\necho (("},
        {"cell_type": "code", "source": "if True:\n    %time x = 1\nw = torch.load('a', weights_only=False)"},
    )
    path.write_text(notebook(*cells))
    found = outcome(path)
    assert found.failures == ()
    assert [(hit.rule, hit.cell, hit.line, hit.fix) for hit in found.hits] == [
        ("source/unsafe-load", 4, 3, None)
    ]
    assert found.hits[0].place.endswith("a.ipynb:cell 4:3:5")


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}']
)
def test_what_is_no_notebook_is_said(content: str, tmp_path: Path):
    path = tmp_path / "a.ipynb"
    path.write_text(content)
    found = outcome(path)
    assert found.status == 2
    assert found.failures[0].reason


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"def f(:\n", "line 1"),
        (b"\x00\x01\x02", "null bytes"),
        (b"\xff\xfe\x80", "codec|utf-8|encoding"),
        (b"# coding: klingon\n", "unknown encoding"),
        (b"(" * 100_000, "nested|parenthes"),
        (b"x = " + b"-" * 200_000 + b"1", "nested|too"),
    ],
)
def test_a_file_that_is_no_python_is_said_and_the_others_are_read(content: bytes, said: str, tmp_path: Path):
    (tmp_path / "a.py").write_bytes(content)
    (tmp_path / "b.py").write_text(LOAD)
    found = outcome(tmp_path)
    assert found.status == 2
    assert [failure.path.name for failure in found.failures] == ["a.py"]
    assert re.search(said, found.failures[0].reason)
    assert [hit.path.name for hit in found.hits] == ["b.py"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_text("x = 1\n")
    path.chmod(0)
    assert "Permission" in outcome(path).failures[0].reason


def test_a_dangling_link_is_said(tmp_path: Path):
    (tmp_path / "a.py").symlink_to(tmp_path / "gone.py")
    found = outcome(tmp_path)
    assert found.status == 2
    assert "No such file" in found.failures[0].reason


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path):
    path = tmp_path / "a.py"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    assert "it has 20 MB: expected 20 at most" in outcome(path).failures[0].reason


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbfx = 1\n", b"x = 1", b"x = 1\r\ny = 2\r\n"])
def test_small_and_foreign_files_are_clean(content: bytes, tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_bytes(content)
    assert outcome(path) == Outcome(hits=(), failures=(), files=1)


def test_other_encodings_are_decoded_and_columns_count_characters(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_bytes("# coding: latin-1\nimport torch\né = 'é', torch.load('a')\n".encode("latin-1"))
    (hit,) = outcome(path).hits
    assert (hit.line, hit.column) == (3, 10)
    assert "é" in read(path).text


def test_a_line_of_a_megabyte_is_read(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_text("rows = [" + "1, " * 350_000 + "]\n" + LOAD)
    assert [hit.line for hit in outcome(path).hits] == [3]
