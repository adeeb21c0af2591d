"""SIGINT and SIGTERM as a request: the loop finishes its step, saves, and the process exits 130 or 143.

Leaves out saving and exiting: the loop looks at `StopRequest` between steps, and the command line exits.
A second SIGINT raises KeyboardInterrupt where it stands; checkpoints appear by rename, so none is harmed.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Ctrl-C reaches a worker twice under torchrun, from the terminal and from torchrun: within this time it is
# one wish.
SAME_KEYSTROKE_SECONDS = 1.0


class StopRequest:
    """Which signal asked the run to stop, if any. Example: `if stop.signal: save()`."""

    def __init__(self) -> None:
        self.signal: int = 0
        self._asked_at = 0.0

    def ask(self, signum: int) -> None:
        """Note the signal; raises KeyboardInterrupt at a second SIGINT."""
        again = self.signal and time.monotonic() - self._asked_at > SAME_KEYSTROKE_SECONDS
        if again and signum == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.signal:
            self.signal, self._asked_at = int(signum), time.monotonic()


def exit_code(signum: int) -> int:
    """What a shell expects of a process that a signal ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + signum


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within the block, SIGINT and SIGTERM only set the request; the former handlers return at its end."""
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return

    def handle(signum: int, _frame: FrameType | None) -> None:
        stop.ask(signum)

    former = {signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signum, handler in former.items():
            signal.signal(signum, handler)
