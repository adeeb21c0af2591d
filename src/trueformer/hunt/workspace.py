"""A hunter's folder: a small complete project with bugs in it, a colleague's report, a git history of one commit.

    INCIDENT.md      what was seen, with numbers and curves measured in this very code
    run.py           the short experiment; settings.json and experiment/ belong to it
    incident.ipynb   report and experiment as a notebook, where it is asked for
    trueformer/      the stack
    .hunt.json       the hunt's random name, and nothing else

Leaves out what is planted where (`plant.py`) and grading (`grade.py`).
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trueformer
from trueformer.hunt import record as records
from trueformer.hunt.bug import Bug, bug
from trueformer.hunt.edits import Sources
from trueformer.hunt.incident import DO, experiments, incident
from trueformer.hunt.notebook import write_notebook
from trueformer.hunt.plant import planted, write_sources
from trueformer.hunt.project import EXPERIMENTS, project
from trueformer.hunt.record import Record

MARK = ".hunt.json"
PACKAGE = "trueformer"
RUN_SECONDS = 300
RUN = '''"""The short experiment of this incident: `python run.py`, or `python run.py 7` for another seed."""

import sys

from experiment import main

sys.exit(main())
'''
IGNORED = "__pycache__/\nout/\n"
WHO = {"NAME": "A colleague", "EMAIL": "colleague@example.invalid", "DATE": "2026-01-05T09:00:00 +0000"}


def start(
    folder: Path,
    bugs: Sequence[Bug],
    *,
    minutes: int | float | None = None,
    shown: bool = True,
    notebook: bool = False,
) -> Record:
    """Makes the workspace, whole or not at all, and writes the record.

    Raises:
        ValueError: the folder is there already, or bugs cannot be planted together.
    """
    if folder.exists():
        raise ValueError(
            f"{folder} is there already: nothing of it is changed; name another folder with --out"
        )
    sources = planted(bugs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".hunt-") as temporary:
        beside = Path(temporary) / folder.name
        name = fill(beside, bugs, sources, minutes=minutes, notebook=notebook)
        beside.rename(folder)
    record = Record(
        name=name,
        bugs=[b.id for b in bugs],
        levels=[b.level for b in bugs],
        workspace=str(folder.resolve()),
        shown=shown,
        minutes=minutes,
        sources=sources,
    )
    record.save()
    return record


def fill(
    folder: Path,
    bugs: Sequence[Bug],
    sources: Sources,
    *,
    minutes: int | float | None,
    measure: bool = True,
    notebook: bool = False,
    do: str = DO,
    scripts: Sources | None = None,
) -> str:
    """Makes everything that a hunter gets; returns the hunt's random name.

    `measure`: runs the experiments, here and in sound code, so that the report has numbers and figures. `do`: the end of
    the report, which says what to do. `scripts`: files beside run.py.
    """
    wanted, name = experiments(bugs), secrets.token_hex(8)
    make(folder, sources, wanted, name)
    write_sources(scripts or {}, folder)
    here, sound = (experiment(folder), sound_numbers(wanted)) if measure else ({}, {})
    (folder / "INCIDENT.md").write_text(incident(bugs, folder, here, sound, minutes, do), encoding="utf-8")
    if notebook:
        write_notebook(folder)
    shutil.rmtree(folder / "out", ignore_errors=True)
    commit(folder)
    return name


def sound_numbers(wanted: list[dict]) -> dict[str, dict[str, float]]:
    """What the same experiments show in the sound project."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "sound"
        make(folder, project(), wanted, "sound")
        return experiment(folder)


def make(folder: Path, sources: Sources, settings: list[dict], name: str) -> None:
    """The files of a workspace but for its report, all of one moment."""
    folder.mkdir(parents=True)
    files = handed_out(sources, settings)
    files[MARK] = json.dumps({"hunt": name}) + "\n"
    files[".gitignore"] = IGNORED
    write_sources(files, folder)


def handed_out(sources: Sources, settings: list[dict]) -> dict[str, str]:
    """The text files that a hunter may read and edit, by their paths in the workspace."""
    files = {f"{PACKAGE}/{path}": text for path, text in sources.items()}
    files |= {
        f"experiment/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted(EXPERIMENTS.glob("*.py"))
    }
    files["run.py"] = RUN
    files["settings.json"] = json.dumps(settings, indent=1) + "\n"
    return files


def experiment(folder: Path, *arguments: str, quiet: bool = True) -> dict[str, dict[str, float]]:
    """Runs the workspace's experiments as the hunter would; their numbers.

    Raises:
        ValueError: it failed; says how.
    """
    try:
        done = subprocess.run(
            [sys.executable, "run.py", *arguments],
            cwd=folder,
            env=surroundings(),
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
            text=True,
            timeout=RUN_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"the experiment took longer than {RUN_SECONDS} s and was ended") from error
    if done.returncode:
        last = (done.stdout or "").strip().splitlines()[-1:] or ["see above"]
        raise ValueError(f"the experiment ended with an error: {last[0]}")
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def surroundings() -> dict[str, str]:
    """The environment of an experiment: the stack it imports is the one beside it."""
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}


def commit(folder: Path) -> None:
    """A git history of one commit, the same for every hunt; none where there is no git."""
    stamps = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in WHO.items()}
    clean = {**os.environ, **stamps, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for path in folder.rglob("*"):
        os.utime(path, (1767603600, 1767603600))  # one time for all: it tells of no edit
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["commit", "-q", "-m", "The project as it is"],
    ):
        try:
            subprocess.run(["git", *words], cwd=folder, env=clean, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return


def open_workspace(place: Path) -> tuple[Path, Record]:
    """The workspace that `place` is or lies in, and its record; a workspace that has moved is found again.

    Raises:
        ValueError: none there, half deleted, of another version, or its record is gone; says what to do.
    """
    folder = next(
        (path for path in (place.resolve(), *place.resolve().parents) if (path / MARK).is_file()), None
    )
    if folder is None:
        raise ValueError(
            f"{place.resolve()} is no workspace of a hunt: go into one, or name it with --workspace "
            "(`trueformer hunt start` makes one)"
        )
    record = records.load(_name(folder))
    if record.version != trueformer.__version__:
        raise ValueError(
            f"{folder} was made by trueformer {record.version}, this is {trueformer.__version__}: install that "
            "version to go on, or start the case anew in another folder"
        )
    missing = [path for path in record.sources if not (folder / PACKAGE / path).is_file()]
    if missing:
        raise ValueError(
            f"{folder} lacks {PACKAGE}/{missing[0]}{f' and {len(missing) - 1} more files' if missing[1:] else ''}: "
            f"bring them back (`git checkout -- {PACKAGE}` there), or start the case anew in another folder"
        )
    if record.workspace != str(folder):
        record.workspace = str(folder)
        record.save()
    return folder, record


def _name(folder: Path) -> str:
    try:
        return str(json.loads((folder / MARK).read_text(encoding="utf-8"))["hunt"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / MARK} is damaged: `git checkout -- {MARK}` there brings it back, or start the case anew"
        ) from error


def bugs_of(record: Record) -> list[Bug]:
    """What was planted."""
    return [bug(id) for id in record.bugs]
