"""Files from an address, once: resumed where it broke off, checked by size and SHA-256, then put in place.

A file is whole and right, or absent: it grows as `NAME.part` and is renamed once its SHA-256 is right.
A server that sends more than the registered size is cut off. Leaves out mirrors and archives.
"""

import hashlib
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from trueformer.data.progress import progress_line

BLOCK = 2**20
TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True, kw_only=True, slots=True)
class Remote:
    """A file at an address, known by its size in bytes and its SHA-256."""

    name: str
    url: str
    size: int
    sha256: str


def fetch(remote: Remote, folder: Path) -> Path:
    """The file in `folder`, fetched if it is not there yet.

    Raises:
        OSError: the address cannot be reached; what has come is kept, and the next call goes on from there.
        ValueError: what came is not the registered file; it is deleted.
    """
    target = folder / remote.name
    if target.is_file() and target.stat().st_size == remote.size:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{remote.name}.part"
    try:
        _receive(remote, part)
    except OSError as error:
        raise OSError(
            f"{remote.url} could not be fetched ({error}): try again to go on from there, "
            f"or put the file at {target}"
        ) from error
    _check(remote, part)
    part.replace(target)
    return target


def _receive(remote: Remote, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have >= remote.size:
        return
    request = urllib.request.Request(remote.url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if response.status != 206:  # the server starts from the beginning
            have = 0
        with part.open("ab" if have else "wb") as out, progress_line(remote.name, remote.size) as advance:
            advance(have)
            # One byte more than expected is enough to know that it is another file.
            while have <= remote.size and (block := response.read(min(BLOCK, remote.size + 1 - have))):
                out.write(block)
                have += len(block)
                advance(len(block))
    if have < remote.size:
        raise ConnectionError(f"the connection closed after {have:,} of {remote.size:,} bytes")


def _check(remote: Remote, part: Path) -> None:
    with part.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if part.stat().st_size != remote.size or found != remote.sha256:
        size = part.stat().st_size
        part.unlink()
        raise ValueError(
            f"{remote.url} gave {size:,} bytes with SHA-256 {found}: expected {remote.size:,} bytes with "
            f"{remote.sha256}; the file there has changed, or something on the way changed it"
        )
