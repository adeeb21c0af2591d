"""Tasks by name: `open_task("arithmetic")`, `open_task("gsm8k:path/to/folder")`, several with `open_tasks`.

What stands behind the colon is the task's own: a number of conversations, a folder, a name. `TASKS` lists
them all. Leaves out files of conversations (`jsonl.py`).
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from trueformer.data.chats.arithmetic import Arithmetic
from trueformer.data.chats.chatterbot import Chatterbot
from trueformer.data.chats.gsm8k import GSM8K
from trueformer.data.chats.identity import Identity
from trueformer.data.chats.spelling import Spelling
from trueformer.data.chats.task import Task
from trueformer.tokenization.conversations import Conversation

MOST = 10_000_000  # conversations of a made task: more than memory holds is a slip of the keyboard
MOST_TIMES = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A task known by name: what it is, what is written behind the colon, and how it is opened with that.

    `argument` in brackets may be left out; where it is empty, nothing may be given.
    """

    about: str
    argument: str
    open: Callable[[str], Task]


@dataclass(frozen=True, slots=True)
class Share:
    """A task in a mixture, and how often its conversations are repeated."""

    task: Task
    times: int

    def train(self) -> list[Conversation]:
        """The task's conversations, so many times over."""
        return self.task.train() * self.times


def open_task(name: str) -> Task:
    """The task of a name in `TASKS`, with what stands behind its colon.

    Raises:
        ValueError: no such task, or an argument missing, needless or wrong; names what is known.
        OSError: its files are not there.
    """
    known, _, argument = name.partition(":")
    if known not in TASKS:
        near = difflib.get_close_matches(known, TASKS, n=1)
        hint = f"did you mean {near[0]!r}? The tasks are" if near else "the tasks are"
        raise ValueError(f"no task is called {known!r}: {hint} {', '.join(spelled())}")
    entry = TASKS[known]
    if bool(argument) != bool(entry.argument) and not entry.argument.startswith("["):
        raise ValueError(f"{name!r} opens no task: expected {known}{entry.argument}")
    return entry.open(argument)


def open_tasks(names: Iterable[str]) -> list[Share]:
    """A mixture: each name as for `open_task`, "NAME*COUNT" with its conversations so many times.

    Example: open_tasks(["arithmetic", "identity:Ada*20"])

    Raises:
        ValueError: a count of 0 or above `MOST_TIMES`, or as `open_task`.
    """
    shares = []
    for name in names:
        match = re.fullmatch(r"(.+)\*([0-9]{1,9})", name)
        times = int(match[2]) if match else 1
        if not 0 < times <= MOST_TIMES:
            raise ValueError(f"{name!r} repeats a task {times} times: expected 1 to {MOST_TIMES}")
        shares.append(Share(open_task(match[1] if match else name), times))
    return shares


def spelled() -> list[str]:
    """How each task is written: "arithmetic[:SIZE]"."""
    return [name + entry.argument for name, entry in TASKS.items()]


def _size(text: str, default: int) -> int:
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,8}", text) or not 0 < int(text) <= MOST:
        raise ValueError(f"the size is {text[:40]!r}: expected a number of conversations up to {MOST}")
    return int(text)


def _identity(argument: str) -> Task:
    if argument.endswith(".jsonl"):
        return Identity(file=Path(argument).expanduser())
    return Identity(called=argument) if argument else Identity()


TASKS: dict[str, Entry] = {
    "arithmetic": Entry(Arithmetic.about, "[:SIZE]", lambda text: Arithmetic(size=_size(text, 12_000))),
    "gsm8k": Entry(GSM8K.about, ":FOLDER", lambda text: GSM8K(folder=Path(text).expanduser())),
    "chatterbot": Entry(Chatterbot.about, "", lambda _: Chatterbot()),
    "spelling": Entry(Spelling.about, "[:SIZE]", lambda text: Spelling(size=_size(text, 10_000))),
    "identity": Entry(Identity.about, "[:NAME or FILE.jsonl]", _identity),
}
