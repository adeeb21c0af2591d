"""What a bug of the catalogue is: data, read from one TOML file each, and a probe beside it.

`catalogue/COMPONENT/ID.toml` has everything that is told and planted; `ID.py` its hidden probe. An id says what is seen,
never what is wrong. Leaves out planting (`plant.py`) and grading (`grade.py`).
"""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from trueformer.hunt.edits import Edit
from trueformer.laws.book import nearest

CATALOGUE = Path(__file__).parent / "catalogue"
LEVELS = {"easy": 10, "medium": 20, "hard": 40, "brutal": 80}  # what a solve is worth
HINTS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Symptom:
    """The number of the experiment that shows the bug: worse than in sound code by `margin`, mean over seeds."""

    number: str
    worse: Literal["higher", "lower"]
    margin: int | float


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """A repair other than the original: `why` it is right, or why it must be refused."""

    why: str
    edits: tuple[Edit, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bug:
    """One planted bug. `laws` are what it breaks, its own component's first; `follows` other components that then break.

    `kind` says in which small run the laws show it (arguments of `small_run`), `settings` which experiment a hunter
    gets.
    """

    id: str
    component: str
    level: Literal["easy", "medium", "hard", "brutal"]
    title: str
    report: str
    settings: dict[str, Any]
    symptom: Symptom
    edits: tuple[Edit, ...]
    laws: tuple[str, ...]
    follows: tuple[str, ...] = ()
    hints: tuple[str, ...]
    lesson: str
    source: str
    repairs: tuple[Repair, ...]
    refused: tuple[Repair, ...]
    kind: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"{self.id}: level is {self.level!r}, expected one of {', '.join(LEVELS)}")
        if len(self.hints) != HINTS:
            raise ValueError(f"{self.id}: {len(self.hints)} hints, expected {HINTS}, from symptom to place")

    @property
    def weight(self) -> int:
        """What a solve is worth."""
        return LEVELS[self.level]

    @property
    def probe(self) -> Path:
        """The file with the hidden probe."""
        return CATALOGUE / self.component / f"{self.id}.py"


@cache
def bugs() -> dict[str, Bug]:
    """The catalogue by id, in order of component, level and id.

    Raises:
        ValueError: a file that is no bug, or two of one id.
    """
    found = [_read(path) for path in sorted(CATALOGUE.glob("*/*.toml"))]
    twice = [b.id for i, b in enumerate(found) if b.id in {other.id for other in found[:i]}]
    if twice:
        raise ValueError(f"the bug {twice[0]} is there twice: expected ids that differ")
    order = list(LEVELS)
    found.sort(key=lambda bug: (bug.component, order.index(bug.level), bug.id))
    return {bug.id: bug for bug in found}


def bug(id: str) -> Bug:
    """The bug of that id.

    Raises:
        ValueError: there is none; says which was meant.
    """
    known = bugs()
    if id not in known:
        meant = nearest(id, list(known)).replace("`trueformer explain`", "`trueformer hunt list`")
        raise ValueError(f"there is no bug {id!r}{meant}")
    return known[id]


def _read(path: Path) -> Bug:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return Bug(
            id=path.stem,
            component=path.parent.name,
            symptom=Symptom(**data.pop("symptom")),
            edits=_edits(data.pop("edits")),
            repairs=_repairs(data.pop("repairs")),
            refused=_repairs(data.pop("refused")),
            laws=tuple(data.pop("laws")),
            follows=tuple(data.pop("follows", ())),
            hints=tuple(data.pop("hints")),
            **data,
        )
    except (TypeError, KeyError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path.name} is no bug: {error}") from error


def _edits(rows: list[dict[str, str]]) -> tuple[Edit, ...]:
    return tuple(Edit(**row) for row in rows)


def _repairs(rows: list[dict[str, Any]]) -> tuple[Repair, ...]:
    return tuple(Repair(why=row["why"], edits=_edits(row["edits"])) for row in rows)
