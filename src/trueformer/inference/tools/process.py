"""One worker process seen from its parent: started, asked, killed, and never left behind.

Whatever goes wrong with it (no answer in time, a closed pipe, a line that is no answer) is a `WorkerError`,
after which the worker can only be ended. For Linux and macOS. Leaves out who asks when (`box.py`).

    worker = Worker(["calculator"])
    worker.tools(), worker.ask("calculator", "6*7", 5.0)
    worker.end()
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from trueformer.inference.tools.worker import LOADING_SECONDS

LINE = 2**20  # bytes of what a worker says at once
SPARE_SECONDS = 1.0  # after which a worker that its parent should have killed ends itself


class WorkerError(Exception):
    """The worker is of no more use; the message says why."""


class Worker:
    """A process with tools, for one call at a time; `kill` may come from any thread."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            # -P: a file json.py in the current folder must not take the place of the standard library's.
            [sys.executable, "-P", "-m", "trueformer.inference.tools.worker", *sources],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Out of reach of Ctrl-C, and one group to kill with whatever a tool starts.
            start_new_session=True,
            # Threads that numpy would start take address space, and cores from the model.
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdin, "it was asked for"
        assert self._process.stdout, "it was asked for"
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def tools(self) -> dict[str, str]:
        """What each tool is for, by its name; to be asked once, first.

        Raises:
            ValueError: the tools cannot be had; says why.
            WorkerError: the process ended, or loading takes too long.
        """
        message = self._read(LOADING_SECONDS)
        if "error" in message:
            raise ValueError(str(message["error"]))
        return {str(tool["name"]): str(tool["about"]) for tool in message["tools"]}

    def ask(self, name: str, text: str, seconds: int | float) -> str:
        """What the tool makes of the text.

        Raises:
            WorkerError: it took longer than this many seconds, or the process ended.
        """
        request = {"name": name, "input": text, "seconds": seconds + SPARE_SECONDS}
        try:
            self._requests.write(json.dumps(request).encode("ascii") + b"\n")
            self._requests.flush()
        except OSError:
            raise WorkerError("the tool's process has ended") from None
        return str(self._read(seconds).get("output"))

    def ready(self) -> bool:
        """Whether it can be asked: between calls there is nothing to read but the end of a process."""
        return not self._wait(0)

    def kill(self) -> None:
        """End the process and all that it started, at once; harmless when it has ended."""
        with self._lock:
            # Not once it was waited for: the number may then be another's.
            if self._process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the process, wait for it and close its pipes."""
        self.kill()
        with self._lock:
            self._process.wait()
        with suppress(OSError):  # what could not be written before cannot be now
            self._requests.close()
        self._answers.close()

    def _read(self, seconds: int | float) -> dict[str, Any]:
        """The one line that the worker says next."""
        line, deadline = b"", monotonic() + seconds
        while not line.endswith(b"\n"):
            if not self._wait(deadline - monotonic()):
                raise WorkerError(f"the tool was stopped: it took longer than {seconds:g} seconds")
            chunk = os.read(self._answers.fileno(), 65536)
            if not chunk:
                raise WorkerError("the tool's process ended without an answer")
            line += chunk
            if len(line) > LINE:
                raise WorkerError(f"the tool's process said more than {LINE} bytes")
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise WorkerError("what the tool's process said cannot be read")
        return message

    def _wait(self, seconds: int | float) -> bool:
        """Whether there is something to read, or the end, within this time."""
        poll = select.poll()  # `select.select` fails in a server with more than 1024 open files
        poll.register(self._answers.fileno(), select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))
