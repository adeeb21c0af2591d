"""What there is and what was made of it, for people: named corpora, counts, documents cut into tokens.

Run by `trueformer data list`, `prepare` and `show`.
"""

from collections.abc import Iterator

import numpy as np

from trueformer.data.corpora import NAMED
from trueformer.data.manifest import SPLITS, read_manifest
from trueformer.data.shards import PreparedData
from trueformer.data.token_set import TokenSet
from trueformer.tokenization.protocol import Tokenizer

LOOK = 2**18  # tokens read to find the first documents


def named_corpora() -> dict[str, str]:
    """Each named corpus with one line about it."""
    return {name: named.about for name, named in NAMED.items()}


def counts(data: PreparedData) -> list[dict[str, str | int | float]]:
    """One row a split: documents, bytes, tokens, bytes a token, and tokens the tokenizer did not know."""
    manifest = read_manifest(data.folder)
    rows: list[dict[str, str | int | float]] = []
    for name in SPLITS:
        part = manifest["splits"][name]
        text_tokens = part["tokens"] - part["documents"]  # without the BOS of each document
        rows.append(
            {
                "split": name,
                "documents": part["documents"],
                "bytes": part["bytes"],
                "tokens": part["tokens"],
                "bytes per token": round(part["bytes"] / max(text_tokens, 1), 3),
                "unknown": part["unknown"],
            }
        )
    return rows


def first_documents(
    tokens: TokenSet, tokenizer: Tokenizer, *, count: int, longest: int = 256
) -> Iterator[list[str]]:
    """The first `count` documents as the text of each token, at most `longest` tokens of each.

    BOS is shown by its name, and a token that is part of a character as \\xNN escapes.

    Raises:
        ValueError: a number below 1.
    """
    if count < 1 or longest < 1:
        raise ValueError(f"count is {count} and longest is {longest}: expected at least 1 of each")
    ids = tokens.window(0, min(tokens.n_tokens, LOOK))
    starts = np.flatnonzero(ids == tokens.bos_id)[:count]
    ends = [*starts[1:], len(ids)]
    return (
        _texts(ids[a : min(b, a + longest)].tolist(), tokenizer) for a, b in zip(starts, ends, strict=True)
    )


def _texts(ids: list[int], tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.piece(i, skip_special=False).decode(errors="backslashreplace") for i in ids]
