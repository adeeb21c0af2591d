"""A whole small run: a corpus of made-up sentences, any model, optimizer and backend."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trueformer.data.chat_rows import ChatSet
from trueformer.data.config import DataConfig
from trueformer.data.shards import PreparedData
from trueformer.data.token_set import TokenSet
from trueformer.models.config import DecoderConfig
from trueformer.optim.config import OptimConfig, ScheduleConfig
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.chat_format import TOOL_TOKENS, MarkedFormat
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, assistant, user
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.config import LoopConfig, RunConfig
from trueformer.training.data import ChatData, TextData, TrainingData

WHO, DID, WHERE = (
    ("cat", "dog", "owl", "jaçanã"),
    ("sat", "sang", "hid"),
    ("on a mat", "in a tree", "by the sea"),
)
SHAPE: dict[str, Any] = {"max_len": 32, "d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}


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


def talks(count: int, seed: int) -> list[Conversation]:
    """Made-up conversations, short enough that two share a row."""
    pick = random.Random(seed)
    return [
        Conversation.of(user(pick.choice(WHO)), assistant(f"{pick.choice(DID)} {pick.randrange(10**6)}"))
        for _ in range(count)
    ]


def made_up(
    tokenizer: Tokenizer, train: list[str], held_out: list[str], config: DataConfig, conversations: bool
) -> TrainingData:
    """The texts, or conversations in their place, and others to validate on."""
    if conversations:
        chat = MarkedFormat(tokenizer, OURS)
        sides = [ChatSet(talks(*side), chat, config.seq_len) for side in ((600, 1), (60, 2))]
        return ChatData(train=sides[0], held_out=sides[1], chat=chat)
    prepared = PreparedData(
        train=tokens(train, tokenizer),
        validation=tokens(held_out, tokenizer),
        tokenizer=tokenizer,
        folder=Path("unused"),
    )
    return TextData(prepared, config)


def small_run(
    backend: str = "plain",
    optimizer: Any = "adamw",
    tokenizer: str = "char",
    loop: dict[str, Any] | None = None,
    optim: dict[str, Any] | None = None,
    schedule: dict[str, Any] | None = None,
    document_mask: bool = False,
    conversations: bool = False,
    texts: Sequence[list[str]] | None = None,
    **model: Any,
) -> tuple[RunConfig, TrainingData]:
    """The configuration and the data of a run; `texts` are documents to learn from and others to validate on.

    `model`, `loop`, `optim` and `schedule` change the configurations of those.
    """
    train, held_out = texts or (sentences(120, 1), sentences(30, 2))
    words = train_bpe(train, vocab_size=320) if tokenizer == "bpe" else train_characters(train)
    words = words.extended([*OURS.tokens, *TOOL_TOKENS])
    rates: dict[str, Any] = {"warmup_steps": 5, **(schedule or {})}
    shape: dict[str, Any] = {"vocab_size": words.vocab_size, **SHAPE, **model}
    usual: dict[str, Any] = {
        "steps": 50,
        "batch_size": 4,
        "precision": "float32",
        "compile": False,
        "device": "cpu",
        "backend": backend,
    }
    config = RunConfig(
        model=DecoderConfig(**shape),
        data=DataConfig(seq_len=model.get("max_len", 32), tokenizer=tokenizer, document_mask=document_mask),
        optim=OptimConfig(name=optimizer, **(optim or {})),
        schedule=ScheduleConfig(**rates),
        loop=LoopConfig(**{**usual, **(loop or {})}),
    )
    return config, made_up(words, train, held_out, config.data, conversations)
