"""What a tool is to the comparison: a name, the package it comes in, and the alarms it raises over a script."""

import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT = 7200  # seconds a command

Alarms = frozenset[str]


class Failed(Exception):
    """A tool that gave no answer; the message is the end of what it said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """One column. `alarms` takes a script; `prepare`, where there is one, sees a sound script's runs before."""

    name: str
    package: str
    python: str
    alarms: Callable[[str, Path], Alarms]
    prepare: Callable[[str, Sequence[Path]], None] = lambda python, scripts: None

    @property
    def version(self) -> str:
        """The version that this Python has; empty where the package is not installed."""
        program = f"from importlib.metadata import version; print(version({self.package!r}))"
        done = subprocess.run([self.python, "-c", program], capture_output=True, text=True, check=False)
        return done.stdout.strip()


def run(command: Sequence[str | Path], folder: Path, allowed: tuple[int, ...] = (0,)) -> str:
    """The standard output of a command that ran in `folder`.

    Raises:
        Failed: it took too long, or its exit status is not an allowed one.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{words[2]}: no end in {LIMIT} s") from error
    if done.returncode not in allowed:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing said"]
        raise Failed(f"{words[2]}: status {done.returncode}: {said[-1]}")
    return done.stdout


def counted(names: Iterable[str]) -> Alarms:
    """Names as alarms that can be compared: the second of a name is another alarm than its first."""
    return frozenset(f"{name} ×{n}" for name, times in Counter(names).items() for n in range(1, times + 1))
