"""A corpus as token shards on disk: split, tokenised in parallel, counted, and made only once.

    FOLDER/manifest.json       what it was made from, counts, and the SHA-256 of each shard
    FOLDER/tokenizer.json
    FOLDER/train-00000.bin …   ids one behind the other, uint16 or uint32, BOS before each document
    FOLDER/validation-00000.bin …

The folder's name is a hash of the source, the split and the tokenizer: asking again for the same finds it,
and a change in any of them makes another. It is written beside its place and renamed, so it is whole or
absent. Of processes that ask for the same at once, one makes it and the others wait.

Run by `trueformer data prepare`. Leaves out the order of reading (`loader.py`).
"""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from trueformer.data import manifest as manifests
from trueformer.data.config import DataConfig
from trueformer.data.corpora import Corpus, open_corpus
from trueformer.data.manifest import (
    SPLITS,
    DamagedShards,
    open_split,
    read_manifest,
    verify,
    write_json,
    write_split,
)
from trueformer.data.progress import progress_line, told
from trueformer.data.split import Split, split_by_hash, split_by_source
from trueformer.data.token_set import TokenSet
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.load import load_tokenizer
from trueformer.tokenization.protocol import Tokenizer

FORMAT = 1  # raised when the same source and settings would give other shards


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedData:
    """Both sides of a corpus as tokens, and the tokenizer that made them."""

    train: TokenSet
    validation: TokenSet
    tokenizer: Tokenizer
    folder: Path


def prepare(config: DataConfig, *, tokenizer: Tokenizer | None = None, check: bool = False) -> PreparedData:
    """The token shards of `config`, made if they are not there yet; `tokenizer` replaces the configured one.

    `check` also compares every shard with its SHA-256. Damaged shards are reported on stderr and made again.

    Raises:
        FileNotFoundError: the source or the tokenizer file does not exist.
        ValueError: the source cannot be read or split.
    """
    cache = cache_folder(config)
    corpus = open_corpus(config.source, cache)
    held_out = open_corpus(config.validation, cache) if config.validation else None
    if tokenizer is None and config.tokenizer not in ("bpe", "char"):
        tokenizer = load_tokenizer(config.tokenizer)
    folder = cache / f"{corpus.name}-{_key(config, corpus, held_out, tokenizer)[:16]}"
    if folder.exists():
        try:
            return _open(folder, check)
        except DamagedShards as error:
            print(f"token shards are damaged, making them again: {error}", file=sys.stderr)
            _remove(folder)
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{folder.name}.lock"):  # the system frees it when its holder ends, however
        if not folder.exists():
            _build(folder, config, corpus, held_out, tokenizer)
    return _open(folder, check)


def cache_folder(config: DataConfig) -> Path:
    """Where shards are kept: `config.cache`, or trueformer's folder in the user's cache."""
    if config.cache:
        return Path(config.cache).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trueformer"


def _key(config: DataConfig, corpus: Corpus, held_out: Corpus | None, tokenizer: Tokenizer | None) -> str:
    trained = [config.tokenizer, config.vocab_size if config.tokenizer == "bpe" else None]
    parts = {
        "format": FORMAT,
        "source": corpus.fingerprint,
        "validation": held_out.fingerprint if held_out else config.val_fraction,
        "tokenizer": tokenizer.fingerprint if tokenizer else trained,
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _open(folder: Path, check: bool) -> PreparedData:
    manifest = read_manifest(folder)
    if check:
        verify(folder)
    try:
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError) as error:
        raise DamagedShards(str(error)) from error
    if tokenizer.fingerprint != manifest["tokenizer"]:
        raise DamagedShards(f"{folder / 'tokenizer.json'} is not the tokenizer the shards were made with")
    train, validation = (open_split(folder, manifest, name) for name in SPLITS)
    return PreparedData(train=train, validation=validation, tokenizer=tokenizer, folder=folder)


def _build(
    folder: Path, config: DataConfig, corpus: Corpus, held_out: Corpus | None, tokenizer: Tokenizer | None
) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        split = _split(config, corpus, held_out)
        if tokenizer is None:
            tokenizer = _train(config, split, corpus.size)
        tokenizer.save(made / "tokenizer.json")
        _write(made, corpus, held_out, split, tokenizer)
        made.rename(folder)


def _remove(folder: Path) -> None:
    """Renamed first, so that no half-deleted folder is ever in the place of a whole one."""
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary,
        contextlib.suppress(FileNotFoundError),  # another process was faster
    ):
        folder.rename(Path(temporary) / "damaged")


def _split(config: DataConfig, corpus: Corpus, held_out: Corpus | None) -> Split:
    if held_out is None:
        return split_by_hash(corpus.documents, config.val_fraction)
    return split_by_source(corpus.documents, held_out.documents)


def _train(config: DataConfig, split: Split, size: int) -> Tokenizer:
    """A tokenizer of the training documents alone: validation text shapes nothing."""
    with progress_line("learning the tokenizer", size) as advance:
        texts = told(split.train(), advance)
        if config.tokenizer == "char":
            return train_characters(texts)
        return train_bpe(texts, config.vocab_size)


def _write(made: Path, corpus: Corpus, held_out: Corpus | None, split: Split, tokenizer: Tokenizer) -> None:
    total = corpus.size + (held_out.size if held_out else 0)
    with progress_line(f"tokenising {corpus.name}", total) as advance:
        parts = {name: write_split(made, name, getattr(split, name)(), tokenizer, advance) for name in SPLITS}
    manifest = {
        "format": FORMAT,
        "source": corpus.name,
        "source_fingerprint": corpus.fingerprint,
        "validation_fingerprint": held_out.fingerprint if held_out else None,
        "tokenizer": tokenizer.fingerprint,
        "vocab_size": tokenizer.vocab_size,
        "bos_id": tokenizer.bos_id,
        "dtype": manifests.token_dtype(tokenizer),
        "splits": parts,
    }
    write_json(made / "manifest.json", manifest)
