"""`[tool.trueformer.lint]` in pyproject.toml: which rules run, and on which files.

[tool.trueformer.lint]
select = ["source/unsafe-load"]            # only these; all when left out
ignore = ["source/temperature"]
exclude = ["third_party"]
per-file-ignores = { "tests/*" = ["source/in-place-save"] }
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trueformer.doctor.lint import rules as _rules  # noqa: F401 - enters them
from trueformer.doctor.lint.files import matches
from trueformer.doctor.lint.rule import RULES, Rule

KEYS = {"select", "ignore", "exclude", "per-file-ignores"}


@dataclass(frozen=True, kw_only=True, slots=True)
class LintConfig:
    """Which rules run (all where `select` is empty, less `ignore`), and what is left out where, below the root."""

    root: Path = Path()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    per_file_ignores: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError where a rule is not known."""
        for id in (*self.select, *self.ignore, *(id for ids in self.per_file_ignores.values() for id in ids)):
            if id not in RULES:
                raise ValueError(f"there is no source rule {id}: expected one of {', '.join(sorted(RULES))}")

    def but(self, *, select: tuple[str, ...], ignore: tuple[str, ...]) -> "LintConfig":
        """This with what the command line says: its selection instead, its exceptions as well."""
        return replace(self, select=select or self.select, ignore=(*self.ignore, *ignore))

    def rules(self, path: Path) -> list[Rule]:
        """The rules that run on a file."""
        left_out = set(self.ignore)
        for pattern, ids in self.per_file_ignores.items():
            if matches(path, [pattern], self.root):
                left_out.update(ids)
        return [
            rule
            for id, rule in RULES.items()
            if id not in left_out and (not self.select or id in self.select)
        ]


def read_config(start: Path) -> LintConfig:
    """The configuration of the nearest pyproject.toml at or above a path; the default where there is none.

    Raises:
        ValueError: a key or a value is not understood; says which.
    """
    here = start.resolve()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return _parsed(file)
    return LintConfig()


def _parsed(file: Path) -> LintConfig:
    try:
        table: Any = tomllib.loads(file.read_text(encoding="utf-8"))
        section = table.get("tool", {}).get("trueformer", {}).get("lint", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"{file} is not understood: {error}") from None
    if unknown := set(section) - KEYS:
        raise ValueError(
            f"{file} has {sorted(unknown)[0]} in [tool.trueformer.lint]: expected {', '.join(sorted(KEYS))}"
        )
    per_file = section.get("per-file-ignores", {})
    if not isinstance(per_file, dict):
        raise ValueError(
            f"{file}: per-file-ignores is {per_file!r}, expected a table of patterns to lists of rules"
        )
    return LintConfig(
        root=file.parent,
        select=_strings(file, "select", section.get("select", [])),
        ignore=_strings(file, "ignore", section.get("ignore", [])),
        exclude=_strings(file, "exclude", section.get("exclude", [])),
        per_file_ignores={pattern: _strings(file, pattern, ids) for pattern, ids in per_file.items()},
    )


def _strings(file: Path, key: str, value: Iterable[Any]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{file}: {key} is {value!r}, expected a list of strings")
    return tuple(value)
