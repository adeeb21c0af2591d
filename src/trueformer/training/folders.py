"""Checkpoint folders on disk: their names, how one comes to be in place at once, how one goes.

A folder is written under a hidden name and renamed; to remove one, it is renamed to a hidden name first. A
process killed in between leaves hidden folders only, which the next save removes unless their writer still
lives (it holds a lock on them). Nothing is ever removed that holds a file this package would not have
written.

Leaves out what is inside: see `checkpoints.py`. POSIX only, since it syncs and locks folders.
"""

import fcntl
import os
import re
import shutil
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trueformer.training.manifest import FILES, MANIFEST

_NAME = re.compile(r"step-(\d{8,})(\.old)?")
_HIDDEN = re.compile(r"\.(saving|deleting)-step-\d{8,}(\.old)?-[0-9a-f]{8}")


def checkpoint_path(run_folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lives. Example: `RUN/checkpoints/step-00000250`."""
    return run_folder / "checkpoints" / f"step-{step:08d}"


def checkpoint_folders(run_folder: Path) -> list[Path]:
    """Everything named like a checkpoint, newest first, unverified.

    Raises:
        OSError: the folder is there and cannot be read.
    """
    root = run_folder / "checkpoints"
    try:
        entries = list(root.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OSError(error.errno, f"cannot look for checkpoints in {root}: {error.strerror}") from error
    found = [(int(m[1]), m[2] is None, path) for path in entries if (m := _NAME.fullmatch(path.name))]
    return [path for _, _, path in sorted(found, reverse=True)]


def superseded(folder: Path) -> bool:
    """Whether `folder` is a `step-N.old` whose replacement is in place."""
    return folder.suffix == ".old" and folder.with_suffix("").exists()


@contextmanager
def temporary_sibling(folder: Path) -> Iterator[Path]:
    """A new hidden folder beside `folder`, locked while its writer lives, removed when the block fails."""
    temporary = _hidden(folder, "saving")
    temporary.mkdir()
    lock = os.open(temporary, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # what went wrong is being raised
        raise
    finally:
        os.close(lock)


def move_into_place(temporary: Path, folder: Path) -> None:
    """Rename a finished folder, so that after it `folder` is the new one, before it the old one if any.

    An older `folder` steps aside as `folder.old`, which counts as a checkpoint until it is removed here.
    """
    sync_folder(temporary)
    old = folder.with_name(folder.name + ".old")
    if folder.exists():
        discard(old)
        folder.rename(old)
    temporary.rename(folder)
    sync_folder(folder.parent)
    discard(old)


def refuse_foreign(folder: Path) -> None:
    """Raise FileExistsError if `folder` exists and is, or holds, something no checkpoint has."""
    foreign = foreign_entries(folder)
    if foreign:
        raise FileExistsError(
            f"{folder} is in the way: it holds {foreign[0]!r}, which no checkpoint has. Move it elsewhere."
        )


def foreign_entries(folder: Path) -> list[str]:
    """Names in `folder` that no checkpoint has; its own name if it is no plain folder."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return [folder.name]
    if not folder.exists():
        return []
    ours = (*FILES, MANIFEST)
    return sorted(path.name for path in folder.iterdir() if path.name not in ours or path.is_dir())


def discard(folder: Path) -> bool:
    """Remove a checkpoint folder, at once for any reader; warns and returns False where it cannot."""
    foreign = foreign_entries(folder)
    if foreign:
        warnings.warn(
            f"{folder} is left in place: it holds {foreign[0]!r}, which no checkpoint has", stacklevel=3
        )
        return False
    if not folder.exists():
        return True
    hidden = _hidden(folder, "deleting")
    try:
        folder.rename(hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        warnings.warn(f"could not remove the old checkpoint {folder}: {error.strerror}", stacklevel=3)
        return False
    return True


def remove_leftovers(root: Path) -> None:
    """Remove hidden folders of killed saves and removals, those a living process still writes excepted."""
    for path in root.iterdir():
        if not _HIDDEN.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
            continue
        try:
            lock = os.open(path, os.O_RDONLY)
        except OSError as error:
            warnings.warn(f"could not look at the leftover {path}: {error.strerror}", stacklevel=3)
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
        except BlockingIOError:
            pass  # its writer lives
        except OSError as error:
            warnings.warn(f"could not remove the leftover {path}: {error.strerror}", stacklevel=3)
        finally:
            os.close(lock)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hidden(folder: Path, what: str) -> Path:
    return folder.with_name(f".{what}-{folder.name}-{uuid.uuid4().hex[:8]}")
