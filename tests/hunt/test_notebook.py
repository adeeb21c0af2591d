"""The notebook of a workspace, executed by a real kernel."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from trueformer.hunt.bug import bug
from trueformer.hunt.notebook import NAME
from trueformer.hunt.plant import planted
from trueformer.hunt.workspace import fill

CASE = "two-readings"


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "hunt"
    fill(place, [bug(CASE)], planted([bug(CASE)]), minutes=None, measure=False, notebook=True)
    return place


def executed(folder: Path, monkeypatch, cells: int) -> list:
    """The outputs of the notebook's first cells; this Python's programs are the ones that it finds."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(folder / NAME, as_version=4)
    nbformat.validate(notebook)
    notebook.cells = notebook.cells[:cells]
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return [cell.get("outputs", []) for cell in notebook.cells]


def test_it_runs_the_experiment_and_shows_figures_and_the_workspaces_own_code(folder, monkeypatch):
    _, run, look = executed(folder, monkeypatch, 3)
    said = "".join(output.get("text", "") for output in run)
    assert bug(CASE).symptom.number in said
    assert any("image/png" in output.get("data", {}) for output in run)
    assert str(folder / "trueformer") in "".join(output.get("text", "") for output in look)


def test_its_first_cell_is_the_report(folder):
    first = nbformat.read(folder / NAME, as_version=4).cells[0]
    assert first.source == (folder / "INCIDENT.md").read_text().strip()
