"""Workspaces that are made fast: their reports have no numbers, and nothing was measured."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from trueformer.hunt.bug import bug
from trueformer.hunt.plant import planted
from trueformer.hunt.record import Record
from trueformer.hunt.workspace import fill

Make = Callable[..., Record]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes a workspace of these cases in a folder, with its record."""

    @cache
    def filled(*ids: str) -> tuple[Path, str, dict[str, str]]:
        folder = tmp_path_factory.mktemp("filled") / "project"
        sources = planted([bug(id) for id in ids])
        return folder, fill(folder, [bug(id) for id in ids], sources, minutes=None, measure=False), sources

    def make(folder: Path, *ids: str, minutes: int | None = None, shown: bool = True) -> Record:
        template, name, sources = filled(*ids)
        shutil.copytree(template, folder, copy_function=shutil.copy2)
        record = Record(
            name=name,
            bugs=list(ids),
            levels=[bug(id).level for id in ids],
            workspace=str(folder),
            shown=shown,
            minutes=minutes,
            sources=sources,
        )
        record.save()
        return record

    return make
