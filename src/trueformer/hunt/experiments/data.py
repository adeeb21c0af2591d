"""Prepares a corpus from a file and looks at everything that a run would read of it."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from trueformer.data.config import DataConfig
from trueformer.data.loader import IGNORE
from trueformer.data.shards import prepare
from trueformer.training.data import TextData
from trueformer.training.distributed import World

from .pretrain import stories
from .report import Findings

ODD = (
    "naïve café",
    "日本語の文",
    "emoji 🦉🔑",
    "tab\tand\nline",
    "<|bos|> typed",
    "a" * 40,
    "ﬁ ½ ",
    "\u0301 e\u0301",
)


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """Counts over one epoch and over the validation split, and texts that do not come back."""
    source = folder / "stories.jsonl"
    texts = [f"{number}. {story}" for number, story in enumerate(stories(300, seed))]
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    usual = {"tokenizer": "bpe", "vocab_size": 320, "seq_len": 48, "val_fraction": 0.2}
    config = DataConfig(**{**usual, **settings}, source=str(source), cache=str(folder / "cache"))
    prepared = prepare(config)
    data = TextData(prepared, config)
    words = data.tokenizer
    own = {"stories_that_do_not_come_back": float(sum(words.decode(words.encode(t)) != t for t in texts))}
    numbers = {**_epoch(data, seed), **_splits(data), **_letters(data), **own}
    return Findings(numbers=numbers, texts=tuple(texts[:1]))


def _epoch(data: TextData, seed: int) -> dict[str, float]:
    loader = data.loader(4, seed, World())
    batches = [next(loader) for _ in range(loader.n_rows // 4)]
    rows = torch.cat([batch.inputs_BT for batch in batches])
    targets = torch.cat([batch.targets_BT for batch in batches])
    ranks = [next(data.loader(4, seed, World(rank=rank, size=2))).inputs_BT for rank in (0, 1)]
    shared = {tuple(row.tolist()) for row in ranks[0]} & {tuple(row.tolist()) for row in ranks[1]}
    counts = Counter(tuple(row.tolist()) for row in rows)
    again = torch.cat([batch.inputs_BT for batch in [next(loader) for _ in batches]])
    return {
        "rows_of_an_epoch": float(len(rows)),
        "rows_twice": float(sum(count - 1 for count in counts.values())),
        "targets_that_are_the_next_input": float((targets[:, :-1] == rows[:, 1:]).float().mean()),
        "targets_that_are_the_input": float((targets == rows).float().mean()),
        "rows_that_two_ranks_share": float(len(shared)),
        "epochs_alike": float(torch.equal(rows, again)),
        "kinds_of_ids": float(len(rows.unique())),
        "ids_in_all": float(data.tokenizer.vocab_size),
        "documents_begun": float((rows == data.tokenizer.bos_id).sum()),
    }


def _splits(data: TextData) -> dict[str, float]:
    first, second = ([b.targets_BT for b in data.validation(4, World())] for _ in range(2))
    order = float(sum(not torch.equal(a, b) for a, b in zip(first, second, strict=False)))
    held = torch.cat(first)
    numbers = [set(), set()]
    loader = data.loader(4, 1, World())
    for batch in (next(loader) for _ in range(loader.n_rows // 4)):
        numbers[0] |= _named(data, batch.targets_BT)
    numbers[1] |= _named(data, held)
    return {
        "validation_batches_that_change": order,
        "validation_targets": float((held != IGNORE).sum()),
        "documents_in_both_splits": float(len(numbers[0] & numbers[1])),
    }


def _named(data: TextData, targets: torch.Tensor) -> set[str]:
    """The facts that whole documents of these rows begin with; a document of two splits has them in both."""
    found = set()
    for row in targets.tolist():
        text = data.tokenizer.decode([i for i in row if i != IGNORE], skip_special=False)
        found |= {
            part.split(" has ")[0]
            for part in text.split(data.tokenizer.decode([data.tokenizer.bos_id], skip_special=False))[1:]
        }
    return {name for name in found if name.split(".")[0].isdigit()}


def _letters(data: TextData) -> dict[str, float]:
    words = data.tokenizer
    encoded = [words.encode(text) for text in ODD]
    special = {words.bos_id, words.pad_id}
    joined = zip(encoded, words.encode(list(ODD)), strict=True)
    sizes = words.token_bytes()
    return {
        "texts_that_do_not_come_back": float(
            sum(words.decode(ids) != text for ids, text in zip(encoded, ODD, strict=True))
        ),
        "typed_text_that_became_special": float(sum(bool(special & set(ids)) for ids in encoded)),
        "texts_that_differ_in_a_batch": float(sum(one != other for one, other in joined)),
        "bytes_miscounted": float(
            sum(
                abs(int(sizes[ids].sum()) - len(text.encode()))
                for ids, text in zip(encoded, ODD, strict=True)
            )
        ),
        "bos_asked_for_and_missing": float(
            sum(words.encode(text, bos=True)[:1] != [words.bos_id] for text in ODD)
        ),
        "pieces_that_do_not_join": float(sum(a == b for a, b in pairwise(encoded))),
    }
