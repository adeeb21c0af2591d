"""Runs somebody's script as Python itself would: as `__main__`, with its arguments, in the same folder."""

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trueformer.doctor.watch.monitor import Stopped
from trueformer.doctor.watch.place import trimmed_traceback

INTERRUPTED = 130


def run_script(target: str, arguments: list[str], *, is_module: bool) -> int:
    """Run a file, or a module by name; returns the exit status it would have had.

    An error of the script is printed with the script's own frames. `Stopped` ends it with status 0.
    """
    try:
        with _as_main(target, arguments, is_module):
            if is_module:
                runpy.run_module(target, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(target, run_name="__main__")
    except Stopped:
        return 0
    except SystemExit as stop:
        return _status(stop.code)
    except KeyboardInterrupt:
        print("watch: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - the script's own, printed as Python would
        print(trimmed_traceback(error), end="", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _as_main(target: str, arguments: list[str], is_module: bool) -> Iterator[None]:
    argv, path = sys.argv, sys.path
    sys.argv = [target, *arguments]
    sys.path = [str(Path.cwd() if is_module else Path(target).resolve().parent), *path[1:]]
    try:
        yield
    finally:
        sys.argv, sys.path = argv, path


def _status(code: object) -> int:
    """What `sys.exit(code)` gives a shell."""
    if isinstance(code, int):
        return code
    if code is not None:
        print(code, file=sys.stderr)
    return int(code is not None)
