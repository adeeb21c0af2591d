"""The loop: a message or a command is read, done, and the next is asked for.

At a terminal, with readline's keys and history: Ctrl-C stops a reply, or discards what is being typed, and
leaves only when pressed twice at an empty prompt. Through a pipe, for scripts: a line is a message or a
command, replies alone go to the standard output, and the exit code says whether all went well.

    converse(session, about="smollm2, 135 M parameters")
"""

import io
import readline
import sys
from collections.abc import Callable
from math import inf
from time import monotonic

from trueformer.inference.engine.request import Request
from trueformer.inference.terminal.answer import answer
from trueformer.inference.terminal.commands import run
from trueformer.inference.terminal.history import History, history_path
from trueformer.inference.terminal.screen import Screen
from trueformer.inference.terminal.session import Session

YOU, MORE = "you › ", "  … › "
TWICE_SECONDS = 1.0  # between two presses of Ctrl-C that leave
LONGEST_LINE = 2**20  # characters: more than any context holds, and little enough to hold
INTERRUPTED, MISTAKE = 130, 2  # exit codes

Read = Callable[[str], str]  # a line, for a prompt; EOFError at the end


def converse(session: Session, *, about: str) -> int:
    """Talk until the user leaves or the input ends; `about` is what a person is told first.

    Returns the exit code: 0, 130 after Ctrl-C twice, 2 where something in a pipe could not be done.

    Raises:
        ValueError: a line from a pipe is too long. RuntimeError: the engine has stopped.
    """
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):  # a byte that is no text shall not end the program
            stream.reconfigure(errors="replace")
    if sys.stdin.isatty() and sys.stdout.isatty():
        return _with_a_person(session, Screen(interactive=True), about)
    return _with_a_script(session, Screen(interactive=False))


def _with_a_script(session: Session, screen: Screen) -> int:
    done = True
    while True:
        try:
            done = _turn(session, screen, read_message(_piped)) and done
        except EOFError:
            return 0 if done else MISTAKE


def _with_a_person(session: Session, screen: Screen, about: str) -> int:
    screen.note(f"{about}. /help lists the commands.")
    history = History(history_path())
    readline.set_auto_history(False)  # a message of several lines is one entry
    for entry in history.entries:
        readline.add_history(entry)
    interrupted = -inf
    while True:
        try:
            text = read_message(_typed)
            if history.add(text):
                readline.add_history(text)
            _turn(session, screen, text)
        except EOFError:
            return 0
        except KeyboardInterrupt:
            screen.new_line()
            if readline.get_line_buffer():  # what was being typed is discarded, and no more
                continue
            if monotonic() - interrupted < TWICE_SECONDS:
                return INTERRUPTED
            interrupted = monotonic()
            screen.note("Ctrl-D or /quit leaves; so does Ctrl-C once more.")


def _turn(session: Session, screen: Screen, text: str) -> bool:
    """Do what the text asks for; whether that could be done."""
    if not text.strip():
        return True
    try:
        done = run(session, text) if text.startswith("/") else session.ask(text.strip())
    except (ValueError, OSError) as error:
        screen.error(str(error))
        return False
    if isinstance(done, Request):
        return answer(session, screen, done)
    screen.note(done)
    return True


def read_message(read: Read) -> str:
    """Lines up to one that does not end in a backslash, as one text.

    Raises:
        EOFError: there is none.
    """
    lines = [read(YOU)]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        try:
            lines.append(read(MORE))
        except EOFError:
            break
    return "\n".join(lines)


def _typed(prompt: str) -> str:
    try:
        return input(prompt)
    except EOFError:
        print()  # Ctrl-D leaves the cursor behind the prompt
        raise


def _piped(prompt: str) -> str:
    line = sys.stdin.readline(LONGEST_LINE + 1)
    if not line:
        raise EOFError
    if len(line) > LONGEST_LINE:
        raise ValueError(f"a line has more than {LONGEST_LINE} characters: expected a message")
    return line.removesuffix("\n")
