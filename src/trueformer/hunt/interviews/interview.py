"""An interview: a set of cases for a candidate, in a folder of workspaces with neutral names, and what is known of it.

    FOLDER/INTERVIEW.md       the rules
    FOLDER/case-1/ …          a workspace each, with check.py (and hint.py) in the place of `trueformer hunt check`
    FOLDER/.interview.json    the interview's random name, and nothing else

What is planted is in the interviewer's records. Leaves out the clock (`sitting.py`) and the report
(`report.py`).
"""

import dataclasses
import json
import secrets
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trueformer
from trueformer.hunt import record as records
from trueformer.hunt.bug import HINTS, Bug, bug
from trueformer.hunt.interviews.texts import do, rules, scripts
from trueformer.hunt.plant import planted
from trueformer.hunt.record import Record
from trueformer.hunt.sessions import drawn
from trueformer.hunt.workspace import fill

MARK = ".interview.json"
LONGEST_NAME = 100  # characters of a candidate's name
LONGEST_INTERVIEW = 24 * 60  # minutes
_SAVING = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A check or a hint that the candidate asked for, `at` seconds on the clock."""

    case: str
    what: str
    at: int | float
    solved: bool = False
    broken: int = 0
    fooled: list[str] = field(default_factory=list)
    error: str = ""


@dataclass(kw_only=True, slots=True)
class Interview:
    """One interview. Times are seconds since 1970; `used` is seconds on the clock."""

    name: str
    folder: str
    cases: dict[str, str]  # from folders to names of hunts
    minutes: int | float
    hints: int
    candidate: str
    version: str = trueformer.__version__
    prepared: float = field(default_factory=time.time)
    began: float | None = None
    used: int | float = 0.0
    reported: float | None = None
    asked: list[Asked] = field(default_factory=list)
    left: dict[str, dict[str, str]] = field(default_factory=dict)  # sources by case, when a sitting ended

    @property
    def remaining(self) -> float:
        """Seconds that are left on the clock."""
        return max(0.0, self.minutes * 60 - self.used)

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return interviews_folder() / f"{self.name}.json"

    def record(self, case: str) -> Record:
        """The hunt in a folder of it."""
        return records.load(self.cases[case])

    def save(self) -> None:
        """Writes it, whole or not at all."""
        with _SAVING:  # the clock and the checks each have a thread
            records.write(self.file, dataclasses.asdict(self))


def interviews_folder() -> Path:
    """Where interviews are kept."""
    return records.state_folder() / "interviews"


def chosen(ids: Sequence[str], count: int, level: str | None, seed: int | None) -> list[Bug]:
    """The cases of those ids, or so many that are drawn of different components; the easiest first.

    Raises:
        ValueError: no such case, one is there twice, there are not so many, or ids and a way to draw are both given.
    """
    if ids and (level is not None or seed is not None):
        raise ValueError("--level and --seed are for cases that are drawn: leave them out, or the ids")
    twice = [id for i, id in enumerate(ids) if id in ids[:i]]
    if twice:
        raise ValueError(f"the case {twice[0]} is named twice: expected cases that differ")
    found = [bug(id) for id in ids] or drawn(count, level, seed, "--cases")
    return sorted(found, key=lambda case: case.weight)


def prepare(
    folder: Path,
    cases: Sequence[Bug],
    *,
    minutes: int | float = 60.0,
    hints: int = 0,
    candidate: str = "",
    measure: bool = True,
) -> Interview:
    """Makes the folder, whole or not at all, and the records. `measure`: reports have numbers, some seconds a case.

    Raises:
        ValueError: the folder is there already, or a number or the name is out of bounds.
    """
    _validate(folder, minutes, hints, candidate)
    interview = Interview(
        name=secrets.token_hex(8),
        folder=str(folder.resolve()),
        cases={},
        minutes=minutes,
        hints=hints,
        candidate=candidate,
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".hunt-") as temporary:
        beside = Path(temporary) / folder.name
        made = [_case(beside, n, case, interview, measure) for n, case in enumerate(cases, 1)]
        (beside / "INTERVIEW.md").write_text(rules(list(interview.cases), minutes, hints), encoding="utf-8")
        (beside / MARK).write_text(json.dumps({"interview": interview.name}) + "\n", encoding="utf-8")
        beside.rename(folder)
    for record in made:
        record.save()
    interview.save()
    return interview


def _validate(folder: Path, minutes: int | float, hints: int, candidate: str) -> None:
    if folder.exists():
        raise ValueError(f"{folder} is there already: nothing of it is changed; name another folder")
    if not 0 < minutes <= LONGEST_INTERVIEW:
        raise ValueError(f"--minutes is {minutes:g}: expected more than 0, at most {LONGEST_INTERVIEW}")
    if not 0 <= hints <= HINTS:
        raise ValueError(f"--hints is {hints}: expected 0 to {HINTS} for each case")
    if len(candidate) > LONGEST_NAME or not candidate.isprintable():
        raise ValueError(
            f"--candidate is {candidate!r}: expected at most {LONGEST_NAME} printable characters"
        )


def _case(beside: Path, number: int, case: Bug, interview: Interview, measure: bool) -> Record:
    """Makes one workspace and notes it in the interview; its record."""
    folder, sources = f"case-{number}", planted([case])
    name = fill(
        beside / folder,
        [case],
        sources,
        minutes=None,
        measure=measure,
        do=do(interview.hints),
        scripts=scripts(interview.hints),
    )
    interview.cases[folder] = name
    return Record(
        name=name,
        bugs=[case.id],
        levels=[case.level],
        workspace=f"{interview.folder}/{folder}",
        interview=interview.name,
        allowed=interview.hints,
        shown=False,
        sources=sources,
    )


def opened(place: Path) -> Interview:
    """The interview of a folder: by where it was made, or by its mark where it has moved.

    Raises:
        ValueError: there is none, its record cannot be read, or it is of another version.
    """
    here = str(place.resolve())
    every = sorted(map(_read, interviews_folder().glob("*.json")), key=lambda interview: interview.prepared)
    known = {interview.folder: interview for interview in every}  # the latest that was made there
    interview = known.get(here) or _marked(place)
    if interview.version != trueformer.__version__:
        raise ValueError(
            f"{place} was made by trueformer {interview.version}, this is {trueformer.__version__}: install that version"
        )
    interview.folder = here
    return interview


def _marked(place: Path) -> Interview:
    try:
        name = json.loads((place / MARK).read_text(encoding="utf-8"))["interview"]
        path = interviews_folder() / f"{name}.json"
        if str(name).isalnum() and path.is_file():
            return _read(path)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ValueError(
        f"{place} is no interview that is known here: `trueformer hunt interview prepare` makes one; its records stay on "
        "the machine and account that made it"
    )


def _read(path: Path) -> Interview:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        data["asked"] = [Asked(**asked) for asked in data["asked"]]
        return Interview(**data)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no record of an interview: {error}; delete it") from error
