"""What begins with a slash: a table of commands, each a function of the session and of what stands behind it.

A command returns what is to be shown, or a request for the engine to answer; /quit raises EOFError, as
Ctrl-D does. A user's mistake is a ValueError.

    run(session, "/set temperature 0")  # "temperature is 0"
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path

from trueformer.inference.engine.request import Request
from trueformer.inference.terminal.files import load, save
from trueformer.inference.terminal.session import Session
from trueformer.inference.terminal.settings import NONE, changed

NO_SYSTEM = "-"


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its name, what may stand behind it, what it is for, and what it does."""

    name: str
    takes: str
    about: str
    run: Callable[[Session, str], str | Request]


def run(session: Session, line: str) -> str | Request:
    """Do what a line such as "/undo" says.

    Raises:
        ValueError: there is no such command, or it cannot be done; says what can. EOFError: to quit.
        OSError: a file cannot be read or written.
    """
    name, _, argument = line.strip().partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        nearest = get_close_matches(name, COMMANDS, n=1, cutoff=0)[0]
        raise ValueError(f"there is no {name[:40]}: did you mean {nearest}? /help lists all")
    if argument.strip() and not command.takes:
        raise ValueError(f"{name} takes nothing behind it: write {name} alone")
    return command.run(session, argument.strip())


def _help(session: Session, argument: str) -> str:
    lines = [
        f"  {command.name + ' ' + command.takes:<20} {command.about}"
        for name, command in COMMANDS.items()
        if name == command.name
    ]
    return "\n".join([*lines, *HINTS])


def _reset(session: Session, argument: str) -> str:
    session.reset()
    return "begun anew" + (", with the same system message" if session.system else "")


def _system(session: Session, argument: str) -> str:
    if not argument:
        said = session.system or "the model's own, or none"
        return f"system message: {said}\n/system TEXT sets another and begins anew; {NO_SYSTEM} as TEXT: none"
    session.reset(system="" if argument == NO_SYSTEM else argument)
    return (
        "system message taken away, begun anew" if argument == NO_SYSTEM else "system message set, begun anew"
    )


def _set(session: Session, argument: str) -> str:
    name, _, value = argument.partition(" ")
    if not name:
        return _settings(session)
    if not value.strip():
        raise ValueError(f"{name[:40]} is to be what? Expected /set NAME VALUE, such as /set temperature 0.5")
    session.settings = changed(session.settings, name, value.strip())
    name = name.replace("-", "_")
    return f"{name} is {_shown(getattr(session.settings, name))}"


def _settings(session: Session) -> str:
    lines = [f"  {f.name:<20} {_shown(getattr(session.settings, f.name))}" for f in fields(session.settings)]
    if session.last_seed is not None:
        lines.append(f"The last reply was drawn with seed {session.last_seed}.")
    return "\n".join(lines)


def _shown(value: int | float | None) -> str:
    return NONE if value is None else str(value) if isinstance(value, int) else f"{value:g}"


def _save(session: Session, argument: str) -> str:
    path = _path(argument, "/save")
    number = save(session.conversation(), path)
    return f"saved as line {number} of {path}"


def _load(session: Session, argument: str) -> str:
    path = _path(argument, "/load")
    session.resume(load(path))
    n_turns = len(session.turns)
    return f"loaded {n_turns} message{'s' * (n_turns != 1)}, the last line of {path}; go on from there"


def _path(argument: str, name: str) -> Path:
    if not argument:
        raise ValueError(f"{name} needs a file: expected {name} FILE, such as {name} chat.jsonl")
    return Path(argument).expanduser()


def _retry(session: Session, argument: str) -> Request:
    return session.retry()


def _undo(session: Session, argument: str) -> str:
    said = session.undo()
    return f"taken back: {said if len(said) <= 60 else said[:59] + '…'}"


def _quit(session: Session, argument: str) -> str:
    raise EOFError


COMMANDS = {
    command.name: command
    for command in (
        Command("/help", "", "this list", _help),
        Command("/retry", "", "the last reply again, with another seed", _retry),
        Command("/undo", "", "take back the last message and its reply", _undo),
        Command("/reset", "", "begin anew; system message and settings stay", _reset),
        Command("/system", "[TEXT]", "show the system message, or set it and begin anew", _system),
        Command("/set", "[NAME VALUE]", "show how replies are drawn, or change it", _set),
        Command("/save", "FILE", "add the conversation to a JSONL file, as its last line", _save),
        Command("/load", "FILE", "go on from the last conversation of a JSONL file", _load),
        Command("/quit", "", "leave; so do /exit and Ctrl-D", _quit),
    )
}
COMMANDS["/exit"] = COMMANDS["/quit"]
HINTS = (
    "A line that ends in \\ goes on in the next. Ctrl-C stops a reply.",
    "A message that begins with / needs a space before it.",
)
