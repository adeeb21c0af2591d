"""A whole small run of our own as a subject: a corpus of made-up sentences, any model, optimizer and backend."""

import random
from pathlib import Path
from typing import Any

import numpy as np

from trueformer.as_subject import of_config
from trueformer.data.config import DataConfig
from trueformer.data.shards import PreparedData
from trueformer.data.token_set import TokenSet
from trueformer.models.config import DecoderConfig
from trueformer.optim.config import OptimConfig, ScheduleConfig
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.config import LoopConfig, RunConfig
from trueformer.training.data import TextData

WHO, DID, WHERE = (
    ("cat", "dog", "owl", "jaçanã"),
    ("sat", "sang", "hid"),
    ("on a mat", "in a tree", "by the sea"),
)
SHAPE = {"max_len": 32, "d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}

KINDS: tuple[dict[str, Any], ...] = (
    {},
    {
        "optimizer": "muon",
        "tokenizer": "bpe",
        "positions": "learned",
        "norm": "layernorm",
        "feed_forward": "gelu",
        "qk_norm": False,
        "n_kv_heads": 4,
        "dropout": 0.1,
        "tied": False,
        "attention_bias": True,
        "feed_forward_bias": True,
    },
    {"backend": "fast", "optimizer": "adamuon", "window": 6, "qk_norm": False, "rope_layout": "interleaved"},
    {
        "positions": "sinusoidal",
        "norm_placement": "post",
        "attention_sinks": True,
        "logit_softcap": 5.0,
    },
)


def sentences(count: int, seed: int) -> list[str]:
    """Made-up documents."""
    pick = random.Random(seed)
    return [
        f"The {pick.choice(WHO)} {pick.choice(DID)} {pick.choice(WHERE)}, {pick.random()}."
        for _ in range(count)
    ]


def tokens(documents: list[str], tokenizer: Tokenizer) -> TokenSet:
    """The documents, each with BOS in front, in memory."""
    ids = [i for document in documents for i in tokenizer.encode(document, bos=True)]
    return TokenSet(
        [np.array(ids, dtype=np.uint16)],
        bos_id=tokenizer.bos_id,
        n_documents=len(documents),
        n_bytes=sum(len(document.encode()) for document in documents),
        fingerprint=str(hash(tuple(ids))),
    )


def stack(
    backend: str = "plain",
    optimizer: str = "adamw",
    tokenizer: str = "char",
    loop: dict[str, Any] | None = None,
    **model: Any,
) -> dict[str, Any]:
    """Arguments for `check`; `model` changes the configuration of the model, `loop` that of the loop."""
    train, held_out = sentences(120, 1), sentences(30, 2)
    words = train_bpe(train, vocab_size=320) if tokenizer == "bpe" else train_characters(train)
    data = PreparedData(
        train=tokens(train, words),
        validation=tokens(held_out, words),
        tokenizer=words,
        folder=Path("unused"),
    )
    usual = {
        "steps": 50,
        "batch_size": 4,
        "precision": "float32",
        "compile": False,
        "device": "cpu",
        "backend": backend,
    }
    config = RunConfig(
        model=DecoderConfig(**{"vocab_size": words.vocab_size, **SHAPE, **model}),
        data=DataConfig(seq_len=model.get("max_len", 32), tokenizer=tokenizer),
        optim=OptimConfig(name=optimizer),
        schedule=ScheduleConfig(warmup_steps=5),
        loop=LoopConfig(**{**usual, **(loop or {})}),
    )
    return of_config(config, TextData(data, config.data))
