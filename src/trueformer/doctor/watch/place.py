"""Where in the script's own source something happened, and tracebacks that show only that source.

A frame of torch, of the standard library or of the watch itself is never "theirs". An installed package is,
only where nothing else is on the stack: `python -m package` trains from inside one.
"""

import functools
import runpy
import sys
import sysconfig
import traceback
from pathlib import Path
from types import FrameType

import torch

import trueformer

_PACKAGE = Path(trueformer.__file__).parent
_NEVER = tuple(
    str(path) for path in (Path(torch.__file__).parent, _PACKAGE / "doctor" / "watch", _PACKAGE / "watch.py")
)
_RUNPY = (runpy.__file__, "<frozen runpy>")
_STANDARD = sysconfig.get_paths()["stdlib"]
_INSTALLED = tuple({sysconfig.get_paths()[name] for name in ("purelib", "platlib")})


def place() -> str:
    """`file:line` of the innermost call in their source; empty where there is none."""
    frames = _frames(sys._getframe(1))
    theirs = [frame for frame in frames if not frame[0].startswith(_INSTALLED)] or frames
    return f"{_short(theirs[0][0])}:{theirs[0][1]}" if theirs else ""


def _frames(frame: FrameType | None) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    while frame is not None:
        file = frame.f_code.co_filename
        if file in _RUNPY or file == _NEVER[-1]:
            break  # whatever called the script is not the script
        if not _is_foreign(file):
            found.append((file, frame.f_lineno))
        frame = frame.f_back
    return found


@functools.cache
def _is_foreign(file: str) -> bool:
    if file.startswith(_NEVER) or file.startswith("<"):
        return True
    return file.startswith(_STANDARD) and not file.startswith(_INSTALLED)


@functools.cache
def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def trimmed_traceback(error: BaseException) -> str:
    """The error as Python prints it, without the frames of the watch and of what started the script."""
    told = traceback.TracebackException.from_exception(error)
    _trim(told)
    return "".join(told.format())


def _trim(told: traceback.TracebackException | None) -> None:
    if told is None:
        return
    ours = (*_NEVER[1:], *_RUNPY)
    told.stack[:] = [frame for frame in told.stack if not frame.filename.startswith(ours)]
    _trim(told.__cause__)
    _trim(told.__context__)
