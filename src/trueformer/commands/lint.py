"""`trueformer lint`: source rules over files and folders, without importing them."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from trueformer.doctor.lint.config import LintConfig
    from trueformer.doctor.lint.run import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Lint:
    """Find silent bugs in training code by reading it; nothing is imported or run.

    Ends with 0 where there is nothing but advice, 1 with findings, 2 where something could not be read.
    An exception: # trueformer: ignore[source/unsafe-load] the file is our own

    Try: trueformer lint src/ train.ipynb
    """

    paths: tyro.conf.Positional[tuple[Path, ...]] = (Path(),)
    """Files and folders (*.py and *.ipynb)."""
    fix: tyro.conf.FlagCreatePairsOff[bool] = False
    """Apply the fixes that are safe."""
    diff: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show what --fix changes; without --fix, nothing is written."""
    json: Path | None = None
    """Write the findings to this file as JSON."""
    sarif: Path | None = None
    """Write the findings to this file as SARIF 2.1.0."""
    select: tuple[str, ...] = ()
    """Only these rules, instead of those that pyproject.toml selects."""
    ignore: tuple[str, ...] = ()
    """Not these rules, nor those that pyproject.toml ignores."""
    peers: tyro.conf.FlagCreatePairsOff[bool] = False
    """Run TorchFix and torch-preflight too, if they are installed."""

    def run(self) -> int:
        """Read, fix where asked, and report; returns the exit code."""
        from rich.console import Console

        from trueformer.doctor.lint.config import read_config
        from trueformer.doctor.lint.peers import with_peers
        from trueformer.doctor.lint.report import show
        from trueformer.doctor.lint.run import lint

        paths = self.paths or (Path(),)
        config = read_config(paths[0]).but(select=self.select, ignore=self.ignore)
        outcome = lint(paths, config)
        if self.fix or self.diff:
            outcome = self._fixed(outcome, paths, config)
        if self.peers:
            outcome = with_peers(outcome, paths)
        self._write(outcome)
        show(Console(file=sys.stdout), outcome)
        return outcome.status

    def _fixed(self, outcome: "Outcome", paths: tuple[Path, ...], config: "LintConfig") -> "Outcome":
        """What is left after the fixes, if they are applied."""
        from trueformer.doctor.lint.fix import fix_files
        from trueformer.doctor.lint.run import lint

        count, diff = fix_files(outcome, write=self.fix)
        if self.diff:
            print(diff, end="")
        if not self.fix:
            return outcome
        print(f"{count} fixed")
        return lint(paths, config)

    def _write(self, outcome: "Outcome") -> None:
        from json import dumps

        from trueformer.doctor.lint.report import as_json, as_results
        from trueformer.doctor.sarif import sarif

        if self.json:
            self.json.write_text(dumps(as_json(outcome), indent=2) + "\n", encoding="utf-8")
        if self.sarif:
            self.sarif.write_text(dumps(sarif(as_results(outcome.hits)), indent=2) + "\n", encoding="utf-8")
