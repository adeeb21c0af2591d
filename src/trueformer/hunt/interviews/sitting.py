"""A candidate's sitting: a shell in the interview's folder, sealed in, for as long as the clock has time left.

At a terminal the shell gets one of its own (a pty), so that Ctrl-C reaches the candidate's program and nothing inside can
type into the interviewer's shell. When the time is over programs are told to end (SIGHUP, SIGTERM) and then ended.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from trueformer.hunt.interviews.answering import SOCKET, Answering
from trueformer.hunt.interviews.handed_in import handed_in
from trueformer.hunt.interviews.interview import Interview, interviews_folder, opened
from trueformer.hunt.interviews.own_terminal import OwnTerminal
from trueformer.hunt.progress import span
from trueformer.hunt.sealed import end_with_us, sealed, why_not_sealed

WARNING = 5 * 60  # seconds before the end
GRACE = 3.0  # seconds between telling a program to end and ending it
BEAT = 5.0  # seconds between two notes of the clock, which is what a crash can give away
PROMPT = "interview> "


class Clock:
    """Seconds used of an interview, this sitting's among them."""

    def __init__(self, interview: Interview) -> None:
        self.interview, self._before, self._start = interview, interview.used, time.monotonic()
        self._noted = self._start

    def __call__(self) -> float:
        return self._before + time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.interview.minutes * 60 - self()

    def note(self, *, now: bool = False) -> None:
        """Writes it down, every few seconds or `now`."""
        if now or time.monotonic() - self._noted > BEAT:
            self._noted = time.monotonic()
            self.interview.used = min(self(), self.interview.minutes * 60.0)
            self.interview.save()


def sit(place: Path, command: Sequence[str] = ()) -> int:
    """Runs the candidate's shell, or a command, until it ends or the time is over; returns 0.

    Raises:
        ValueError: no such interview, it is over or reported on, somebody sits there, or this machine cannot seal.
    """
    interview = opened(place)
    with alone(interview):
        interview = opened(place)  # nobody changes it from here on
        _may_sit(interview)
        interview.began = interview.began or time.time()
        clock = Clock(interview)
        clock.note(now=True)
        try:
            with (
                _ended_by_signals(),
                tempfile.TemporaryDirectory(prefix="hunt-") as folder,
                Answering(interview, Path(folder), clock),
            ):
                _run(interview, clock, list(command) or _shell(), Path(folder))
        finally:
            clock.note(now=True)
            interview.left = {case: handed_in(place, case).sources for case in interview.cases}
            interview.save()
    _say("the time is over; files are as they were left" if interview.remaining == 0 else
         f"{span(interview.remaining)} left: sit again to go on")  # fmt: skip
    return 0


def _may_sit(interview: Interview) -> None:
    if interview.reported is not None:
        raise ValueError(
            f"{interview.folder} was reported on: the answers are out, and nobody sits there any more"
        )
    if interview.remaining == 0:
        raise ValueError(
            f"the {interview.minutes:g} minutes of {interview.folder} are over: "
            "`trueformer hunt interview report` grades what is there"
        )
    if not Path(interview.folder).is_dir():
        raise ValueError(f"{interview.folder} is gone: prepare another interview")
    why = why_not_sealed()
    if why:
        raise ValueError(
            f"a candidate cannot be sealed in here: {why}. Sit on a Linux machine, or in a container, that allows it "
            "(Docker: --security-opt seccomp=unconfined --cap-add SYS_ADMIN)"
        )


@contextlib.contextmanager
def alone(interview: Interview) -> Iterator[None]:
    """Holds an interview.

    Raises:
        ValueError: a sitting or a report of it is under way.
    """
    interviews_folder().mkdir(parents=True, exist_ok=True)
    lock = FileLock(interviews_folder() / f"{interview.name}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"{interview.folder} is being sat in or reported on: wait until that has ended"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Whoever ends us, or closes our window, ends the sitting in order."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {which: signal.signal(which, interrupt) for which in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def _shell() -> list[str]:
    shell = os.environ.get("SHELL", "")
    if not Path(shell).is_file():
        shell = "/bin/sh"
    return [shell, "--norc"] if Path(shell).name == "bash" else [shell]


def _run(interview: Interview, clock: Clock, command: list[str], answers: Path) -> None:
    """The candidate's program, until it ends or the time is over; nothing that it started is left."""
    line, environment = sealed(
        Path(interview.folder),
        command,
        allow=[answers, *([Path(command[0])] if Path(command[0]).is_absolute() else [])],
        environment={
            "INTERVIEW": str(answers.resolve() / SOCKET),
            "PS1": PROMPT,
            **{name: os.environ[name] for name in ("TERM", "COLORTERM", "EDITOR") if name in os.environ},
        },
    )
    _say(f"{span(clock.left)} left; read INTERVIEW.md first")
    with contextlib.ExitStack() as stack:
        terminal = stack.enter_context(OwnTerminal()) if sys.stdin.isatty() and sys.stdout.isatty() else None
        started = terminal.start if terminal else _start
        process = started(line, environment)
        try:
            _watch(process, clock, terminal)
        finally:
            _end(process)
            with contextlib.suppress(OSError):
                Path(environment["SEAL"]).rmdir()


def _start(line: list[str], environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(line, env=environment, start_new_session=True, preexec_fn=end_with_us)


def _watch(process: subprocess.Popen, clock: Clock, terminal: OwnTerminal | None) -> None:
    warned = clock.left <= WARNING
    while process.poll() is None and clock.left > 0:
        clock.note()
        if not warned and clock.left <= WARNING:
            warned = True
            _say(f"{span(clock.left)} left")
        pause = min(0.2, max(0.0, clock.left))
        if terminal is not None:
            terminal.pump(pause)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(pause)
    if terminal is not None:
        terminal.pump(0.0)  # its last words


def _say(text: str) -> None:
    print(f"\r\n── {text} ──\r", file=sys.stderr, flush=True)


def _end(process: subprocess.Popen) -> None:
    """Tells everything inside to end, waits a moment, and ends it."""
    inside = _descendants(process.pid)
    if process.poll() is None:
        for which in (signal.SIGHUP, signal.SIGTERM):
            for pid in inside:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, which)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _descendants(pid: int) -> list[int]:
    """The processes that one has started, and they have; not itself."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found, left = [], [pid]
    while left:
        own = children.get(left.pop(), [])
        found += own
        left += own
    return found
