"""The same bugs in one training script, by everybody's tools: trueformer's three, TrainCheck, torch-preflight, TorchFix.

    pip install traincheck torch-preflight torchfix        # best in an environment of their own
    python benchmarks/side_by_side.py --peers-python /path/to/its/bin/python --json alarms.json

Every tool gets the same files: `tests/subjects/nanogpt_style_train.py`, shortened to eight updates, with one edit. An
alarm counts where the tool does not raise it over the sound script too, under either of two seeds. TrainCheck is
given two runs of the sound script, under two more seeds, to infer from; nobody else is given a reference. `check`
is given a few lines about the script, `nanogpt_style_parts.py`, the same for every bug. The sound edits below the
bugs show what a tool says of a change that is none.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from alarms import linters, ours, traincheck
from alarms.tool import Alarms, Failed, Tool
from measure import hardware
from mutants.mutant import Mutant
from mutants.script import BUGS, FILE, SOUND, TWINS

ROOT = Path(__file__).parent.parent
SEED = "seed = 1337"
SHORT = {
    "max_iters = 48": "max_iters = 8",
    "eval_interval = 16": "eval_interval = 4",
    "eval_iters = 4": "eval_iters = 1",
    "warmup_iters = 6\n": "warmup_iters = 1\n",
}
REFERENCES, SILENT = (1, 2), (1337, 3)  # seeds to infer from, and seeds whose alarms do not count

Said = dict[str, Alarms | Failed]


def tools(python: str, peers: str) -> list[Tool]:
    """The columns, from left to right."""
    return [
        Tool(name="trueformer check", package="trueformer", python=python, alarms=ours.check),
        Tool(name="trueformer lint", package="trueformer", python=python, alarms=ours.lint),
        Tool(name="trueformer.watch", package="trueformer", python=python, alarms=ours.watch),
        Tool(
            name="TrainCheck",
            package="traincheck",
            python=peers,
            alarms=traincheck.alarms,
            prepare=traincheck.prepare,
        ),
        Tool(name="torch-preflight", package="torch-preflight", python=peers, alarms=linters.torch_preflight),
        Tool(name="TorchFix", package="torchfix", python=peers, alarms=linters.torchfix),
    ]


def said_by(tool: Tool, sources: dict[str, str], references: Sequence[str]) -> Said:
    """What a tool says of each source, by name; a source that it cannot take is a failure of its own."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            tool.prepare(tool.python, [_written(Path(folder, f"r{i}"), s) for i, s in enumerate(references)])
        except Failed as failed:
            return dict.fromkeys(sources, failed)
        return {name: _alarms(tool, _written(Path(folder, name), text)) for name, text in sources.items()}


def _written(folder: Path, source: str) -> Path:
    for long, short in SHORT.items():
        source = source.replace(long, short)
    folder.mkdir()
    script = folder / Path(FILE).name
    script.write_text(source, encoding="utf-8")
    return script


def _alarms(tool: Tool, script: Path) -> Alarms | Failed:
    try:
        alarms = tool.alarms(tool.python, script)
    except Failed as failed:
        alarms = failed
    print(f"{tool.name}, {script.parent.name}: {_count(alarms)}", file=sys.stderr, flush=True)
    return alarms


def counting(said: Said) -> Said:
    """The same without the alarms that the sound script raises under other seeds, or a bug's sound twin does."""
    silent = [said[f"seed-{seed}"] for seed in SILENT]
    if any(isinstance(alarms, Failed) for alarms in silent):
        return dict.fromkeys(said, next(alarms for alarms in silent if isinstance(alarms, Failed)))
    left: Said = {}
    for name, alarms in said.items():
        twin = said.get(TWINS.get(name, ""), frozenset())
        if isinstance(alarms, Failed):
            left[name] = alarms
        else:
            left[name] = alarms.difference(*silent, () if isinstance(twin, Failed) else twin)
    return left


def _count(alarms: Alarms | Failed) -> str:
    return f"failed ({alarms})" if isinstance(alarms, Failed) else str(len(alarms) or "·")


def table(
    columns: list[Tool], found: dict[str, Said], bugs: Sequence[Mutant], sound: Sequence[Mutant]
) -> str:
    """Markdown: a row a bug with how many alarms each tool raises, the sums, and a row a sound edit."""
    names = [tool.name for tool in columns]
    lines = [f"| component | bug | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]

    def row(first: str, second: str, cells: list[str]) -> None:
        lines.append(f"| {first} | {second} | {' | '.join(cells)} |")

    for bug in bugs:
        row(bug.component, _words(bug), [_cell(found.get(name), bug) for name in names])
    row("", f"found of {len(bugs)}", [_sum(found.get(name), bugs) for name in names])
    for edit in sound:
        row("sound", _words(edit), [_cell(found.get(name), edit) for name in names])
    row("", f"alarmed at, of {len(sound)} sound edits", [_sum(found.get(name), sound) for name in names])
    return "\n".join(lines)


def short_name(mutant: Mutant) -> str:
    """Its name without the file's."""
    return mutant.name.partition("/")[2]


def _words(mutant: Mutant) -> str:
    return short_name(mutant).replace("-", " ") + (f" ({mutant.finding})" if mutant.finding else "")


def _cell(said: Said | None, mutant: Mutant) -> str:
    alarms = None if said is None else said.get(short_name(mutant))
    if alarms is None:
        return ""
    return "failed" if isinstance(alarms, Failed) else str(len(alarms) or "·")


def _sum(said: Said | None, mutants: Sequence[Mutant]) -> str:
    return str(sum(_cell(said, mutant).isdigit() for mutant in mutants)) if said is not None else ""


def kept(path: Path | None) -> dict[str, Said]:
    """The columns that an earlier run has written."""
    if path is None or not path.exists():
        return {}
    return {
        column: {name: Failed(a) if isinstance(a, str) else frozenset(a) for name, a in said.items()}
        for column, said in json.loads(path.read_text(encoding="utf-8")).items()
    }


def keep(path: Path, found: dict[str, Said]) -> None:
    """Writes the columns with every alarm, and what a tool that failed said last."""
    plain = {
        column: {name: str(a) if isinstance(a, Failed) else sorted(a) for name, a in said.items()}
        for column, said in found.items()
    }
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers-python", default=sys.executable, help="the Python that has the others")
    parser.add_argument("--only", nargs="*", default=[], help="bugs and sound edits, by name")
    parser.add_argument("--tools", nargs="*", default=[], help="columns to fill, by name; all")
    parser.add_argument("--json", type=Path, help="every alarm; columns that stand there already are kept")
    options = parser.parse_args()
    bugs, sound = (
        [m for m in group if short_name(m) in options.only or not options.only] for group in (BUGS, SOUND)
    )
    columns = tools(sys.executable, str(Path(options.peers_python).absolute()))
    found = kept(options.json)
    for tool in columns:
        if tool.name in (options.tools or [column.name for column in columns if column.name not in found]):
            if not tool.version:
                print(f"{tool.name} is not installed: pip install {tool.package}")
                continue
            found[tool.name] = counting(said_by(tool, *texts([*sound, *bugs])))
            if options.json:
                keep(options.json, found)
    versions = ", ".join(f"{tool.name} {tool.version}" for tool in columns if tool.name in found)
    print(f"{hardware()}\n{versions}\n\n{table(columns, found, bugs, sound)}")


def texts(edits: Sequence[Mutant]) -> tuple[dict[str, str], list[str]]:
    """The scripts by name, the sound one under its two seeds among them; and those to infer from."""
    script = (ROOT / FILE).read_text(encoding="utf-8")
    seeds = {seed: script.replace(SEED, f"seed = {seed}") for seed in (*REFERENCES, *SILENT)}
    sources = {f"seed-{seed}": seeds[seed] for seed in SILENT}
    return sources | {short_name(m): m.source(ROOT) for m in edits}, [seeds[s] for s in REFERENCES]


if __name__ == "__main__":
    main()
