"""A notebook for a workspace: the report, the experiment and its figures, a cell to look around in, and the check.

    trueformer hunt start tunnel-vision --notebook

Written as plain JSON (nbformat 4.5); needs Jupyter to open, and nothing to make.
"""

import json
from pathlib import Path

NAME = "incident.ipynb"
RUN = '''"""The experiment, in a process of its own: what you have edited counts each time."""

import json
import subprocess
import sys
from pathlib import Path

from IPython.display import Image, display

subprocess.run([sys.executable, "run.py"], check=True)
for part in json.loads(Path("metrics.json").read_text()).values():
    for name, number in part.items():
        print(f"{name:40} {number:.6g}")
for figure in sorted(Path("figures").glob("*.png")):
    display(Image(figure))
'''
LOOK = '''"""Look around: the project's modules, read anew when you edit them."""

%load_ext autoreload
%autoreload 2
import torch

import trueformer

print(trueformer.__path__)
'''
CHECK = "!trueformer hunt check"


def write_notebook(folder: Path) -> None:
    """Writes `incident.ipynb` beside INCIDENT.md, whose text is its first cell."""
    report = (folder / "INCIDENT.md").read_text(encoding="utf-8")
    sources = [("markdown", report), ("code", RUN), ("code", LOOK), ("code", CHECK)]
    cells = [_cell(number, kind, source) for number, (kind, source) in enumerate(sources)]
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (folder / NAME).write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")


def _cell(number: int, kind: str, source: str) -> dict:
    run = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {
        "id": f"cell-{number}",
        "cell_type": kind,
        "metadata": {},
        "source": source.strip().splitlines(keepends=True),
        **run,
    }
