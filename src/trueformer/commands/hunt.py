"""`trueformer hunt`: practise on planted silent bugs; a repair is graded by what the code does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from trueformer.commands.interview import Interview

Level = Literal["easy", "medium", "hard", "brutal"]
Workspace = Annotated[Path, tyro.conf.arg(help="A workspace; the folder you are in without it.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class List:
    """List the cases: what is seen of each, its level, its component.

    Try: trueformer hunt list --level easy
    """

    level: Level | None = None
    """Only those of this level."""
    component: str | None = None
    """Only those of this component, such as attention."""

    def run(self) -> int:
        """Print one row a case; returns the exit code."""
        from trueformer.commands.show import table
        from trueformer.hunt.sessions import listed

        table(listed(self.level, self.component))
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Make a workspace: a small project with a bug in it, and the report of a colleague.

    Try:
      trueformer hunt start tunnel-vision
      trueformer hunt start --random --level hard --minutes 45
      trueformer hunt start --random --bugs 3 --seed 7
    """

    id: tyro.conf.Positional[str] = ""
    """A case of `trueformer hunt list`."""
    random: tyro.conf.FlagCreatePairsOff[bool] = False
    """Draw the case; its id stays unknown until it is solved or given up."""
    bugs: int = 1
    """With --random: so many bugs at once, in different components."""
    level: Level | None = None
    """With --random: of this level."""
    seed: int | None = None
    """With --random: the same number draws the same case."""
    minutes: float | None = None
    """The time that it should take; more costs points."""
    out: Path | None = None
    """The folder to make; hunt-1 or the next free number without it."""
    notebook: tyro.conf.FlagCreatePairsOff[bool] = False
    """Put a notebook of the incident into it, for Jupyter."""

    def run(self) -> int:
        """Make it and say where; returns the exit code."""
        from trueformer.hunt.sessions import chosen
        from trueformer.hunt.terminal import begin

        cases = chosen(self.id, self.random, self.bugs, self.level, self.seed)
        return begin(cases, self.out, minutes=self.minutes, shown=not self.random, notebook=self.notebook)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Run the short experiment of the case: `python run.py` in the workspace."""

    workspace: Workspace = Path()
    seed: int = 1
    """Other weights, other text."""

    def run(self) -> int:
        """Run it; returns the exit code."""
        from trueformer.hunt.workspace import experiment, open_workspace

        folder, _ = open_workspace(self.workspace)
        experiment(folder, str(self.seed), quiet=False)
        print(f"figures and numbers: {folder / 'figures'}, {folder / 'metrics.json'}")
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Grade the workspace: which behaviours hold and which do not; never where the bug is.

    Returns 0 when it is solved, 1 when not, 2 when it could not be graded.
    """

    workspace: Workspace = Path()

    def run(self) -> int:
        """Grade and print; returns the exit code."""
        from trueformer.hunt.terminal import check

        return check(self.workspace)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hint:
    """The next hint, from the symptom to the place. Each costs points: 10, 15, 20 and 25 percent."""

    workspace: Workspace = Path()

    def run(self) -> int:
        """Print it; returns the exit code."""
        from trueformer.hunt.terminal import hint

        return hint(self.workspace)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reveal:
    """Show the bug, its lesson and its laws, after a solve or on giving up."""

    workspace: Workspace = Path()
    give_up: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show it although it is not solved; it then scores nothing."""

    def run(self) -> int:
        """Print it; returns the exit code."""
        from trueformer.hunt.terminal import reveal

        return reveal(self.workspace, give_up=self.give_up)


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """A table of all hunts: solved, points, time, hints, and the streak."""

    export: Path | None = None
    """Write it to this .json or .csv file as well; one that is there is not overwritten."""

    def run(self) -> int:
        """Print it; returns the exit code."""
        from trueformer.hunt.progress import progress

        return progress(self.export)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Run a command as the hunter over a set of cases, and score what it leaves behind.

    It runs in each workspace, sealed in with no answer in reach and no network, with the incident on standard input.

    Try:
      trueformer hunt bench "python my_agent.py" --level easy --allow my_agent.py
      trueformer hunt bench my-agent --network --allow ~/.my-agent --env MY_KEY --minutes 20
    """

    command: tyro.conf.Positional[str]
    """The hunter; it sees the workspace as its current folder."""
    cases: tuple[str, ...] = ()
    """Ids; all of them without any."""
    level: Level | None = None
    """Only those of this level."""
    component: str | None = None
    """Only those of this component."""
    minutes: float = 10.0
    """The budget for each case."""
    out: Path = Path("bench.jsonl")
    """Where rows are written, one a line as they come; a file that is there is not overwritten."""
    network: tyro.conf.FlagCreatePairsOff[bool] = False
    """Let it reach the network, as an agent that asks a model must."""
    allow: tuple[Path, ...] = ()
    """Files and folders that it may read beside its workspace: its own program."""
    env: tuple[str, ...] = ()
    """Names of environment variables that it is given."""
    unsealed: tyro.conf.FlagCreatePairsOff[bool] = False
    """Run it without the seal: then the installed package, and every answer, is within its reach."""

    def run(self) -> int:
        """Run every case and print the table; returns the exit code."""
        from trueformer.hunt.bench import Setting
        from trueformer.hunt.terminal import benched

        setting = Setting(
            minutes=self.minutes,
            seal=not self.unsealed,
            network=self.network,
            allow=self.allow,
            environment=self.env,
        )
        return benched(self.command, self.cases, self.level, self.component, setting, self.out)


@dataclass(frozen=True, kw_only=True, slots=True)
class Web:
    """Hunt on a page: cases, the report, an editor, runs and checks, for one person on this machine.

    Try: trueformer hunt web --folder hunts
    """

    port: int = 8001
    """0 takes any that is free."""
    folder: Path = Path()
    """Where new workspaces are made; the folder you are in without it."""

    def run(self) -> int:
        """Serve until stopped; returns the exit code."""
        try:
            from trueformer.hunt.web.app import create_app
            from trueformer.inference.server.run import bind, run
        except ModuleNotFoundError as error:
            raise ImportError(f"serving needs {error.name}: pip install 'trueformer[serve]'") from error
        import secrets

        from trueformer.hunt.web.jobs import Jobs

        self.folder.mkdir(parents=True, exist_ok=True)
        with bind("127.0.0.1", self.port) as listening, Jobs() as jobs:
            key = secrets.token_urlsafe(16)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/?key={key}"
            app = create_app(self.folder, key, jobs)
            greeting = f"Hunting at {url} (Ctrl-C ends it). The key in it is for you alone."
            run(app, listening, end=jobs.close, on_ready=lambda: print(greeting, flush=True), grace=1.0)
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Hunt:
    """Practise on real silent bugs, graded by behaviour."""

    action: (
        Annotated[List, tyro.conf.subcommand("list")]
        | Annotated[Start, tyro.conf.subcommand("start")]
        | Annotated[Run, tyro.conf.subcommand("run")]
        | Annotated[Check, tyro.conf.subcommand("check")]
        | Annotated[Hint, tyro.conf.subcommand("hint")]
        | Annotated[Reveal, tyro.conf.subcommand("reveal")]
        | Annotated[Progress, tyro.conf.subcommand("progress")]
        | Annotated[Bench, tyro.conf.subcommand("bench")]
        | Annotated[Web, tyro.conf.subcommand("web")]
        | Annotated[Interview, tyro.conf.subcommand("interview")]
    )

    def run(self) -> int:
        """Run the action; returns the exit code."""
        return self.action.run()
