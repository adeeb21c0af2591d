"""Writing token shards with their counts and SHA-256, and opening them again: whole, or a clear error.

Sizes are checked on every opening, contents when asked (`verify`), since hashing reads everything.
Leaves out what the shards are made from (`shards.py`).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trueformer.data.token_set import TokenSet, map_tokens
from trueformer.tokenization.protocol import Tokenizer

SPLITS = ("train", "validation")
SHARD_TOKENS = 2**27  # tokens a file: 256 MiB of uint16
BATCH_CHARACTERS = 2**22  # text given to the tokenizer's threads at a time


class DamagedShards(ValueError):
    """A folder of shards that is not what its manifest says."""


def write_split(
    folder: Path,
    name: str,
    documents: Iterable[str],
    tokenizer: Tokenizer,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Tokenise `documents` into `folder/name-*.bin`; returns their part of the manifest.

    `advance` is told the bytes of text done.
    """
    dtype = token_dtype(tokenizer)
    counts = {"documents": 0, "tokens": 0, "bytes": 0, "unknown": 0}
    shards: list[dict[str, Any]] = []
    pending: list[np.ndarray] = []
    for texts in _batches(documents):
        ids = np.concatenate([np.array(i, dtype=dtype) for i in tokenizer.encode(texts, bos=True)])
        n_bytes = sum(len(text.encode()) for text in texts)
        counts["documents"] += len(texts)
        counts["tokens"] += len(ids)
        counts["bytes"] += n_bytes
        counts["unknown"] += 0 if tokenizer.unk_id is None else int((ids == tokenizer.unk_id).sum())
        pending.append(ids)
        if sum(map(len, pending)) >= SHARD_TOKENS:
            shards.append(_write_shard(folder / f"{name}-{len(shards):05}.bin", pending))
            pending = []
        advance(n_bytes)
    if pending or not shards:
        shards.append(_write_shard(folder / f"{name}-{len(shards):05}.bin", pending))
    return counts | {"shards": shards}


def token_dtype(tokenizer: Tokenizer) -> str:
    """The narrowest of uint16 and uint32 that holds every id, little-endian on disk."""
    return "<u2" if tokenizer.vocab_size <= 2**16 else "<u4"


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Write JSON and wait until it is on disk."""
    with file.open("w", encoding="utf-8") as out:
        json.dump(value, out, indent=1)
        _to_disk(out)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder of shards, its files present and of the right size.

    Raises:
        DamagedShards: the manifest or a shard is missing, cut short or malformed; names the file.
    """
    file = folder / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        parts = [manifest["splits"][name] for name in SPLITS]
        expected = {shard["file"]: shard["bytes"] for part in parts for shard in part["shards"]}
        absent = {"tokenizer", "bos_id", "dtype"} - set(manifest)
        absent.update(*({"documents", "tokens", "bytes", "unknown"} - set(part) for part in parts))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedShards(f"{file} is missing or malformed ({error!r})") from error
    if absent:
        raise DamagedShards(f"{file} is malformed: it lacks {', '.join(sorted(absent))}")
    for name, size in expected.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found:,} bytes"
            raise DamagedShards(f"{folder / name} {state}: expected {size:,} bytes")
    return manifest


def verify(folder: Path) -> None:
    """Read every shard and compare its SHA-256 with the manifest.

    Raises:
        DamagedShards: names the first file that differs.
    """
    manifest = read_manifest(folder)
    for name in SPLITS:
        for shard in manifest["splits"][name]["shards"]:
            with (folder / shard["file"]).open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
            if found != shard["sha256"]:
                raise DamagedShards(
                    f"{folder / shard['file']} has SHA-256 {found[:12]}…: expected {shard['sha256'][:12]}…"
                )


def open_split(folder: Path, manifest: dict[str, Any], name: str) -> TokenSet:
    """One side's tokens, memory-mapped."""
    part = manifest["splits"][name]
    hashes = "".join(shard["sha256"] for shard in part["shards"])
    return TokenSet(
        [map_tokens(folder / shard["file"], manifest["dtype"]) for shard in part["shards"]],
        bos_id=manifest["bos_id"],
        n_documents=part["documents"],
        n_bytes=part["bytes"],
        fingerprint=hashlib.sha256(hashes.encode()).hexdigest(),
    )


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    texts: list[str] = []
    size = 0
    for text in documents:
        texts.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield texts
            texts, size = [], 0
    if texts:
        yield texts


def _write_shard(file: Path, arrays: list[np.ndarray]) -> dict[str, Any]:
    digest = hashlib.sha256()
    with file.open("wb") as out:
        for ids in arrays:
            data = ids.tobytes()
            digest.update(data)
            out.write(data)
        _to_disk(out)
    return {"file": file.name, "bytes": file.stat().st_size, "sha256": digest.hexdigest()}


def _to_disk(out: Any) -> None:
    out.flush()
    os.fsync(out.fileno())
