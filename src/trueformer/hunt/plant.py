"""A project with bugs in it: the sound sources, edited."""

from collections.abc import Sequence
from pathlib import Path

from trueformer.hunt.bug import Bug
from trueformer.hunt.edits import Edit, Sources, apply
from trueformer.hunt.project import project


def planted(bugs: Sequence[Bug]) -> dict[str, str]:
    """The project's sources with every one of these bugs.

    Raises:
        ValueError: an edit that does not fit the code, or bugs that edit the same place.
    """
    return apply(tuple(edit for bug in bugs for edit in bug.edits), project())


def repaired(bugs: Sequence[Bug], edits: tuple[Edit, ...]) -> dict[str, str]:
    """The planted project after a repair of it."""
    return apply(edits, planted(bugs))


def write_sources(sources: Sources, folder: Path) -> Path:
    """The sources as files of `folder`, which is returned."""
    for name, text in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
