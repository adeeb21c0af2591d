"""The manifest of a checkpoint folder: which files belong to it, how long they are and their SHA-256.

A checkpoint is believed only when its manifest is whole and every file in it has the stated size and hash.
Sizes are compared before anything is read, and nothing is read that could not fit in this machine's memory,
so a hostile or broken file costs an error message and not the machine. The hash guards against damage; it
is no signature, and who can rewrite the folder can rewrite the manifest too. No pickle is read anywhere.

Leaves out the headers inside safetensors files: the safetensors library itself refuses headers that are too
long, and offsets that overlap, leave gaps or do not end with the file.
"""

import errno
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

FORMAT = "trueformer-checkpoint-1"
MANIFEST = "manifest.json"
MODEL, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
STATE, CONFIG, TOKENIZER = "state.json", "config.json", "tokenizer.json"
FILES = (
    MODEL,
    OPTIMIZER,
    STATE,
    CONFIG,
    TOKENIZER,
)  # the only names a checkpoint may hold, all in its own folder
JSON_LIMIT = 64 << 20  # bytes; state, config and manifest are kilobytes, a large tokenizer 20 MB
MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # bytes


class DamagedCheckpointError(ValueError):
    """A checkpoint that is incomplete or does not match its manifest; says which file and how."""


def write_manifest(folder: Path, aliases: dict[str, dict[str, str]]) -> None:
    """Hash every file in `folder`, force it to disk, and write manifest.json last."""
    files = {}
    for name in FILES:
        if (folder / name).exists():
            with (folder / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
                files[name] = {"size": os.fstat(file.fileno()).st_size, "sha256": digest}
    body = {"format": FORMAT, "files": files, "aliases": aliases}
    write_json(folder / MANIFEST, body | {"sha256": _digest(body)})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, whole and unchanged.

    Raises:
        DamagedCheckpointError: it is missing, not ours, changed, or names a file outside the folder.
    """
    manifest = read_json(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise DamagedCheckpointError(f"{folder / MANIFEST} is not a manifest of format {FORMAT!r}")
    digest = manifest.pop("sha256", None)
    if digest != _digest(manifest):
        raise DamagedCheckpointError(f"{folder / MANIFEST} is damaged: its own SHA-256 differs")
    if not _well_formed(manifest):
        raise DamagedCheckpointError(f"{folder / MANIFEST} lacks sizes, hashes or aliases")
    foreign = [name for name in manifest["files"] if name not in FILES]
    if foreign:
        raise DamagedCheckpointError(
            f"{folder / MANIFEST} names {foreign[0]!r}: expected only {', '.join(FILES)}, inside the folder"
        )
    return manifest


def verify(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    """Compare each file's size, then its SHA-256, with what the manifest says.

    Raises:
        DamagedCheckpointError: a file is missing, is no plain file, is too large to load, or differs.
    """
    for name, stated in files.items():
        size = plain_file_size(folder / name)
        if size != stated["size"]:
            raise DamagedCheckpointError(
                f"{folder / name} is {size} bytes long; its manifest says {stated['size']}"
            )
        limit = JSON_LIMIT if name.endswith(".json") else MEMORY
        if size > limit:
            raise DamagedCheckpointError(
                f"{folder / name} is {size} bytes long, more than the {limit} that can be loaded here"
            )
    for name, stated in files.items():
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != stated["sha256"]:
            raise DamagedCheckpointError(
                f"{folder / name} is damaged: its SHA-256 differs from the manifest's"
            )


def read_json(path: Path) -> dict[str, Any]:
    """Parse a JSON file of at most `JSON_LIMIT` bytes that holds one object.

    Raises:
        DamagedCheckpointError: it is missing, too long, or no JSON object.
    """
    size = plain_file_size(path)
    if size > JSON_LIMIT:
        raise DamagedCheckpointError(f"{path} is {size} bytes long: expected at most {JSON_LIMIT}")
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(JSON_LIMIT))
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DamagedCheckpointError(f"{path} holds a {type(value).__name__}: expected an object")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write JSON and force it to disk."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def plain_file_size(path: Path) -> int:
    """Bytes of a regular file; links, pipes and devices are refused: a checkpoint's files lie in its folder.

    Raises:
        DamagedCheckpointError: nothing is there, or no regular file.
    """
    try:
        status = path.lstat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        raise DamagedCheckpointError(f"{path} is missing") from error
    if not stat.S_ISREG(status.st_mode):
        raise DamagedCheckpointError(f"{path} is not a regular file")
    return status.st_size


def _well_formed(manifest: dict[str, Any]) -> bool:
    files, aliases = manifest.get("files"), manifest.get("aliases")
    if not isinstance(files, dict) or not isinstance(aliases, dict):
        return False
    records = all(isinstance(f, dict) and {"size", "sha256"} <= f.keys() for f in files.values())
    groups = all(
        isinstance(a, dict) and all(isinstance(n, str) for n in a.values()) for a in aliases.values()
    )
    return records and groups


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
