"""INCIDENT.md: what a colleague would report. Its numbers were measured in the workspace, and in code that is sound."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from trueformer.hunt.bug import Bug

Numbers = Mapping[str, Mapping[str, float]]  # by place of the experiment in settings.json, then by name
DO = """## What to do

Find {what} in `trueformer/` and mend {them} there, so that the whole project behaves as it should; how you write it is up
to you. Names that other files import must stay. There is no need to change the experiment.

    python run.py             # the experiment again; a number behind it is another seed
    trueformer hunt check     # what holds now, and what does not
    trueformer hunt hint      # up to four, each costs points
"""


def experiments(bugs: Sequence[Bug]) -> list[dict]:
    """The settings of every experiment that these bugs ask for, each once."""
    wanted: list[dict] = []
    for planted in bugs:
        if planted.settings not in wanted:
            wanted.append(planted.settings)
    return wanted


def incident(
    bugs: Sequence[Bug],
    folder: Path,
    here: Numbers,
    sound: Numbers,
    minutes: int | float | None,
    do: str = DO,
) -> str:
    """The report of all bugs: their symptoms and never their places; `do` is its end."""
    title = bugs[0].title if len(bugs) == 1 else f"{len(bugs)} things are wrong with this project"
    parts = [f"# {title}", ""]
    for planted in bugs:
        if len(bugs) > 1:
            parts += [f"## {planted.title}", ""]
        parts += [textwrap.dedent(planted.report).strip(), ""]
    for place, numbers in here.items():
        parts += _measured(place, folder, numbers, sound[place], len(here) > 1)
    one = len(bugs) == 1
    parts.append(do.format(what="the fault" if one else "the faults", them="it" if one else "them"))
    if minutes is not None:
        parts += [f"You have {minutes:g} minutes; beyond that each costs points.", ""]
    return "\n".join(parts)


def _measured(
    place: str, folder: Path, numbers: Mapping[str, float], sound: Mapping[str, float], several: bool
) -> list[str]:
    drawn = sorted((folder / "figures").glob(f"{place}-*.png"))
    return [
        f"## What `python run.py` shows{f', part {place}' if several else ''}",
        "",
        "| number | here | in the last version that was known to be good |",
        "|---|---|---|",
        *(f"| {name} | {numbers[name]:.6g} | {sound.get(name, float('nan')):.6g} |" for name in numbers),
        "",
        *(line for path in drawn for line in (f"![{path.stem[2:]}](figures/{path.name})", "")),
    ]
