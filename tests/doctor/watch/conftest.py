"""Runs the scripts of `scripts/`, sound or with edits, under the watch in this process."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from trueformer.watch import main

SCRIPTS = Path(__file__).parent / "scripts"
Edit = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What came of a script under the watch."""

    status: int
    script: Path
    report: dict
    out: str
    err: str

    def law(self, id: str) -> dict:
        """The row of one law."""
        return next(row for row in self.report["laws"] if row["law"] == id)

    @property
    def broken(self) -> dict[str, int]:
        """Broken laws, advice too, and the step of their first break."""
        return {row["law"]: row["step"] for row in self.report["laws"] if row["verdict"] == "broken"}

    @property
    def failures(self) -> list[str]:
        """Rules of ours that failed."""
        return [line for line in self.err.splitlines() if "could not be judged" in line]

    def place_of(self, text: str) -> str:
        """File and number of the one line that holds the text, in the script or in the model beside it."""
        (place,) = [
            f"{path.name}:{i}"
            for path in (self.script, self.script.with_name("small.py"))
            for i, line in enumerate(path.read_text().splitlines(), 1)
            if text in line
        ]
        return place


def edited(source: str, edits: tuple[Edit, ...]) -> str:
    """The text with each edit made; what is replaced must stand there once."""
    for old, new in edits:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Copy a script and the model beside it into a folder of its own, with edits."""

    def copy(name: str = "plain", *edits: Edit, model: tuple[Edit, ...] = ()) -> Path:
        for path in SCRIPTS.glob("*.py"):
            shutil.copy(path, tmp_path)
        for path, changes in ((tmp_path / f"{name}.py", edits), (tmp_path / "small.py", model)):
            path.write_text(edited(path.read_text(), changes))
        return tmp_path / f"{name}.py"

    return copy


@pytest.fixture
def watch(
    write: Callable[..., Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Watched]:
    """Run a script, with edits, under the watch; its folder is the current one."""

    def run(
        name: str = "plain", *edits: Edit, model: tuple[Edit, ...] = (), options: tuple[str, ...] = ()
    ) -> Watched:
        script = write(name, *edits, model=model)
        monkeypatch.chdir(script.parent)
        capfd.readouterr()
        status = main([*options, "--json", "report.json", script.name])
        sys.modules.pop("small", None)
        out, err = capfd.readouterr()
        report = json.loads(Path("report.json").read_text())
        return Watched(status=status, script=script, report=report, out=out, err=err)

    return run
