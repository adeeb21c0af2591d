"""Reading a `tokenizer.json`: one saved here, or a byte-level BPE with its `tokenizer_config.json`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from trueformer.tokenization.bpe import ByteBPE
from trueformer.tokenization.characters import CharTokenizer
from trueformer.tokenization.library import LibraryTokenizer, roles

SIZE_LIMIT = 128 * 2**20  # bytes; the largest in use (Gemma's, 262,144 tokens) has 35 MB


def load_tokenizer(path: str | Path, *, otherwise: Mapping[str, int] | None = None) -> LibraryTokenizer:
    """The tokenizer of a `tokenizer.json`, or of the folder that holds one.

    `otherwise` gives the ids of roles that the files do not name, as GPT-2's do not: {"eos": 50256}.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is too large, is no tokenizer, or does not say which tokens are BOS and EOS.
    """
    path = Path(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    library = _read(file)
    named: dict[str, Any] = roles(library) or _roles_of_config(file.with_name("tokenizer_config.json"))
    found = {**(otherwise or {}), **named}
    if "eos" in found:
        found.setdefault("bos", found["eos"])  # Qwen has no BOS: a document starts after the last one's end
    if "bos" not in found or "eos" not in found:
        raise ValueError(
            f"{file} does not say which tokens are BOS and EOS: expected a file saved by trueformer, or "
            "bos_token and eos_token in a tokenizer_config.json beside it, or ByteBPE(library, bos=…, eos=…)"
        )
    kind = CharTokenizer if type(library.decoder).__name__ == "Fuse" else ByteBPE
    return kind(library, **found, adds_bos=len(library.encode("").ids) > 0)


def _read(file: Path) -> tokenizers.Tokenizer:
    size = file.stat().st_size
    if size > SIZE_LIMIT:
        raise ValueError(
            f"{file} has {size:,} bytes: expected at most {SIZE_LIMIT:,} bytes for a tokenizer.json"
        )
    text = file.read_text(encoding="utf-8")
    try:
        return tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception for a malformed file
        raise ValueError(f"{file} is not a tokenizer.json: {error}") from error


def _roles_of_config(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    if file.stat().st_size > SIZE_LIMIT:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes: expected at most {SIZE_LIMIT:,} bytes")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file} holds a {type(config).__name__}: expected an object with named values")
    named = {}
    for role in ("bos", "eos", "pad"):
        token = config.get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None and not isinstance(token, str):
            raise ValueError(f"{file}: {role}_token is {token!r}, expected the text of a token")
        named |= {} if token is None else {role: token}
    return named
