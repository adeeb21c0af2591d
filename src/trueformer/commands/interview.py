"""`trueformer hunt interview`: a sealed, timed set of cases for a candidate, and a report for the interviewer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="The interview's folder.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepare:
    """Make a folder with a workspace a case, and the rules; what is planted stays in your records.

    Try:
      trueformer hunt interview prepare ada --candidate "Ada L." --minutes 90
      trueformer hunt interview prepare ada slow-start tunnel-vision --hints 1
    """

    folder: Folder
    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Cases of `trueformer hunt list`; drawn without any."""
    cases: int = 3
    """How many to draw, each in another component."""
    level: Literal["easy", "medium", "hard", "brutal"] | None = None
    """Draw cases of this level only."""
    minutes: float = 60.0
    """The time for all cases together."""
    hints: int = 0
    """How many hints are allowed in each case."""
    seed: int | None = None
    """The same number draws the same cases."""
    candidate: str = ""
    """A name for the report."""

    def run(self) -> int:
        """Make it and say what to do next; returns the exit code."""
        from trueformer.hunt.interviews.interview import chosen
        from trueformer.hunt.interviews.terminal import prepared

        cases = chosen(self.ids, self.cases, self.level, self.seed)
        return prepared(self.folder, cases, minutes=self.minutes, hints=self.hints, candidate=self.candidate)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sit:
    """Start the clock and run the candidate's shell in the folder, with no answer in reach and no network.

    It is closed when the time is over. Sitting again goes on with what is left.

    Try:
      trueformer hunt interview sit ada
      trueformer hunt interview sit ada -- tmux
    """

    folder: Folder
    command: tyro.conf.Positional[tuple[str, ...]] = ()
    """What to run; your shell without it."""

    def run(self) -> int:
        """Sit; returns the exit code."""
        from trueformer.hunt.interviews.sitting import sit

        return sit(self.folder, self.command)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Grade every case as it is now, and tell what the candidate did, beside the original repairs. It ends the interview.

    Try: trueformer hunt interview report ada --out ada.html
    """

    folder: Folder
    out: Path | None = None
    """An HTML page to write, which needs nothing else; one that is there is not overwritten."""
    json: Path | None = None
    """The same as JSON."""

    def run(self) -> int:
        """Grade, print a table and write; returns the exit code."""
        from trueformer.hunt.interviews.terminal import reported

        return reported(self.folder, self.out, self.json)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interview:
    """A sealed, timed set of cases for a candidate, and a report for the interviewer."""

    action: (
        Annotated[Prepare, tyro.conf.subcommand("prepare")]
        | Annotated[Sit, tyro.conf.subcommand("sit")]
        | Annotated[Report, tyro.conf.subcommand("report")]
    )

    def run(self) -> int:
        """Run the action; returns the exit code."""
        return self.action.run()
