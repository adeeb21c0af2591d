"""Work that takes a while, each in a process of its own: a workspace made, an experiment, a check.

The server watches them, keeps what they write, and ends them: when asked to, when they take too long, and when it stops
itself. Leaves out what they do.
"""

import codecs
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MOST_TEXT = 200_000  # characters of output that are kept
PATIENCE = 10.0  # seconds that a process has to end itself


class Job:
    """A running command; its output (both streams) comes in `text`. `ending`: the signal that stops it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        seconds: int | float,
        environment: Mapping[str, str] | None = None,
        ending: signal.Signals = signal.SIGINT,
    ) -> None:
        self.text, self.reason, self._ending = "", "", ending
        self._begun, self._took = time.monotonic(), 0.0
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._watch = threading.Timer(seconds, self.stop, [f"ended: it took longer than {seconds:g} s"])
        self._watch.daemon = True
        self._watch.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self._process.stdout as output:
            while data := os.read(output.fileno(), 2**16):
                self.text += decoder.decode(data)[: MOST_TEXT - len(self.text)]
        self._process.wait()
        self._took = time.monotonic() - self._begun
        self._watch.cancel()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._reader.is_alive()

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return None if self.running else self._process.returncode

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self._begun if self.running else self._took

    def stop(self, reason: str = "stopped") -> None:
        """Asks it to end, and kills what has not after `PATIENCE`; returns when it has."""
        if not self.running:
            return
        self.reason = reason
        for number in (self._ending, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self._reader.join(PATIENCE)

    def wait(self) -> None:
        """Returns when it has ended."""
        self._reader.join()


class Jobs:
    """The latest job of each kind and owner, of which one runs at a time. At the end of a `with` block none does."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str], Job] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, owner: str, kind: str) -> Job | None:
        """The latest, running or not."""
        return self._latest.get((owner, kind))

    def begin(self, owner: str, kind: str, start: Callable[[], Job]) -> Job:
        """Starts one.

        Raises:
            ValueError: the one before still runs.
        """
        with self._lock:
            before = self.get(owner, kind)
            if before is not None and before.running:
                raise ValueError(f"a {kind} is under way: wait for it, or stop it")
            job = self._latest[owner, kind] = start()
            return job

    def close(self) -> None:
        """Ends all."""
        for job in list(self._latest.values()):
            job.stop()
