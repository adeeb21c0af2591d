"""Answers a candidate's checks and hints from outside of the seal, through a socket that is shown inside.

What comes in is a stranger's: one line of at most 64 bytes, a known word and a known folder, or it is refused. What goes
out is what `trueformer hunt check` and `hint` tell. Each is noted in the interview with its time on the clock.
"""

import contextlib
import dataclasses
import io
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from trueformer.doctor.words import printable
from trueformer.hunt.grade import Grade
from trueformer.hunt.interviews.handed_in import handed_in
from trueformer.hunt.interviews.interview import Asked, Interview
from trueformer.hunt.interviews.sealed_grade import grade_sealed
from trueformer.hunt.record import Record
from trueformer.hunt.sessions import next_hint
from trueformer.hunt.terminal import show_grade
from trueformer.hunt.workspace import bugs_of

LONGEST_REQUEST = 64  # bytes
LONGEST_ERROR = 300  # characters of what the candidate's own code raised
PATIENCE = 2.0  # seconds to say what is wanted, and to take the answer
SOCKET = "grader"


class Answering:
    """A thread that answers, one request after the other, while the block runs; `folder` holds the socket."""

    def __init__(self, interview: Interview, folder: Path, clock: Callable[[], float]) -> None:
        self.interview, self.clock, self.path = interview, clock, folder / SOCKET
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Answering":
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.path))
        self._socket.listen(4)
        self._socket.settimeout(0.2)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What was asked in time is still noted: a check takes seconds."""
        self._stopped.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                asker, _ = self._socket.accept()
            except TimeoutError:
                continue
            with asker, contextlib.suppress(OSError):  # who asks may leave at any time
                asker.settimeout(PATIENCE)
                asker.sendall(json.dumps(self._answer(_line(asker))).encode())

    def _answer(self, request: str) -> dict[str, str | int]:
        """The exit code of the script, and what it prints."""
        verb, _, case = request.partition(" ")
        answers = {"check": self._check, "hint": self._hint}
        if verb not in answers or case not in self.interview.cases:
            return {
                "code": 2,
                "said": "not understood: run check.py in a case's folder, under the name that it had",
            }
        try:
            return answers[verb](case)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's files bring about, the next check is answered
            return {"code": 2, "said": printable(str(error))}

    def _check(self, case: str) -> dict[str, str | int]:
        at, record = self.clock(), self.interview.record(case)
        given = handed_in(Path(self.interview.folder), case)
        result = _bounded(grade_sealed(given, bugs_of(record)[0], record.sources))
        self._note(
            Asked(
                case=case,
                what="check",
                at=at,
                solved=result.solved,
                broken=len(result.broken),
                fooled=list(result.fooled),
                error=result.error,
            )
        )
        return {"code": 0 if result.solved else 1, "said": _shown(result)}

    def _hint(self, case: str) -> dict[str, str | int]:
        record: Record = self.interview.record(case)
        try:
            given = next_hint(record)
        except ValueError:
            return {
                "code": 2,
                "said": f"no more hints here: {self.interview.hints} allowed in each case",
            }
        self._note(Asked(case=case, what="hint", at=self.clock()))
        return {
            "code": 0,
            "said": f"{given.texts[0]}\nhint {given.number} of {record.allowed}, {given.cost:.0f} points",
        }

    def _note(self, asked: Asked) -> None:
        self.interview.asked.append(asked)
        self.interview.save()


def _line(asker: socket.socket) -> str:
    """The line that was sent, without its end; what is too long, too slow or no text is nothing."""
    got = b""
    while b"\n" not in got and len(got) < LONGEST_REQUEST:
        piece = asker.recv(LONGEST_REQUEST - len(got))
        if not piece:
            break
        got += piece
    return got.partition(b"\n")[0].decode("ascii", "replace") if b"\n" in got else ""


def _bounded(result: Grade) -> Grade:
    """The grade with short words of the candidate's code: an error is no way to carry anything out."""
    return dataclasses.replace(
        result, error=printable(result.error)[:LONGEST_ERROR], fooled=result.fooled[:20]
    )


def _shown(result: Grade) -> str:
    text = io.StringIO()
    show_grade(Console(file=text, width=110, color_system=None), result)
    return text.getvalue().rstrip("\n")
