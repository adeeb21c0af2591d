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
from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.config import LoopConfig, RunConfig
from trueformer.training.data import TextData

WHO, DID, WHERE = (
    ("cat", "dog", "owl", "fox"),
    ("sat", "sang", "hid"),
    ("on a mat", "in a tree", "by the sea"),
)
SHAPE = {"max_len": 32, "d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}

KINDS: tuple[dict[str, Any], ...] = (
    {},
    {
        "optimizer": "muon",
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
    {
        "backend": "fast",
        "optimizer": "muon",
        "window": 6,
        "qk_norm": False,
        "rope_layout": "interleaved",
        "loop": {"precision": "bf16", "parameters": "bf16"},
        "optim": {"lr_vectors": 1e-3},  # next to a norm's 1, less than bf16 can show
    },
    {
        "optimizer": "adamuon",
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
        f"the {pick.choice(WHO)} {pick.choice(DID)} {pick.choice(WHERE)}, {pick.random()}."
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
    loop: dict[str, Any] | None = None,
    optim: dict[str, Any] | None = None,
    **model: Any,
) -> dict[str, Any]:
    """Arguments for `check`; `model`, `loop` and `optim` change the configurations of those."""
    train, held_out = sentences(120, 1), sentences(30, 2)
    tokenizer = train_characters(train)
    data = PreparedData(
        train=tokens(train, tokenizer),
        validation=tokens(held_out, tokenizer),
        tokenizer=tokenizer,
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
        model=DecoderConfig(**{"vocab_size": tokenizer.vocab_size, **SHAPE, **model}),
        data=DataConfig(seq_len=model.get("max_len", 32), tokenizer="char"),
        optim=OptimConfig(name=optimizer, **(optim or {})),
        schedule=ScheduleConfig(warmup_steps=5),
        loop=LoopConfig(**{**usual, **(loop or {})}),
    )
    return of_config(config, TextData(data, config.data))
