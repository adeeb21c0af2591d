"""A terminal of its own for a program: a pty, with what is typed and shown carried between it and ours.

What the program does to its terminal stays there: it cannot type into the shell that we were called from.
"""

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import tty

from trueformer.hunt.sealed import end_with_us

PIECE = 65536  # bytes


class OwnTerminal:
    """Within the block ours is raw, so that Ctrl-C and all other keys reach the program."""

    def __enter__(self) -> "OwnTerminal":
        self._ours = sys.stdin.fileno()
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)  # a program that does not read must not stop the clock
        self._typed = b""
        self._settings = termios.tcgetattr(self._ours)
        self._resized = signal.signal(signal.SIGWINCH, lambda *_: self._resize())
        self._resize()
        tty.setraw(self._ours)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._ours, termios.TCSAFLUSH, self._settings)
        signal.signal(signal.SIGWINCH, self._resized)
        os.close(self._master)
        os.close(self._slave)

    def start(self, line: list[str], environment: dict[str, str]) -> subprocess.Popen:
        """Starts a program in it, in a session of its own."""
        return subprocess.Popen(
            line,
            env=environment,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            preexec_fn=_take,
        )

    def pump(self, seconds: float) -> None:
        """Carries what there is to carry, and waits so long for it."""
        reading = [self._master] if self._typed else [self._ours, self._master]
        ready, _, _ = select.select(reading, [self._master] if self._typed else [], [], seconds)
        if self._ours in ready:
            self._typed = os.read(self._ours, PIECE)
            if not self._typed:
                raise KeyboardInterrupt  # our terminal is gone
        if self._typed:
            with contextlib.suppress(BlockingIOError):
                self._typed = self._typed[os.write(self._master, self._typed) :]
        if self._master in ready:
            _write(sys.stdout.fileno(), os.read(self._master, PIECE))

    def _resize(self) -> None:
        with contextlib.suppress(OSError):
            termios.tcsetwinsize(self._slave, termios.tcgetwinsize(self._ours))


def _take() -> None:
    """In the child: its standard input becomes the terminal that keys like Ctrl-C are for."""
    end_with_us()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
