"""A whole small run of our own as a subject: a corpus of made-up sentences, any model, optimizer and backend."""

import random
from pathlib import Path
from typing import Any

import numpy as np

from trueformer.as_subject import of_config
from trueformer.data.chat_rows import ChatSet
from trueformer.data.config import DataConfig
from trueformer.data.shards import PreparedData
from trueformer.data.token_set import TokenSet
from trueformer.models.config import DecoderConfig
from trueformer.optim.config import OptimConfig, ScheduleConfig
from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.chat_format import TOOL_TOKENS, MarkedFormat
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, assistant, user
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.config import LoopConfig, RunConfig
from trueformer.training.data import ChatData, TextData, TrainingData

WHO, DID, WHERE = (
    ("cat", "dog", "owl", "fox"),
    ("sat", "sang", "hid"),
    ("on a mat", "in a tree", "by the sea"),
)
SHAPE = {"max_len": 32, "d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}

KINDS: tuple[dict[str, Any], ...] = (
    {"document_mask": True},
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
        "optimizer": "adamuon",
        "window": 6,
        "qk_norm": False,
        "rope_layout": "interleaved",
        "conversations": True,
    },
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


def talks(count: int, seed: int) -> list[Conversation]:
    """Made-up conversations, short enough that two share a row."""
    pick = random.Random(seed)
    return [
        Conversation.of(user(pick.choice(WHO)), assistant(f"{pick.choice(DID)} {pick.randrange(10**6)}"))
        for _ in range(count)
    ]


def made_up(tokenizer: Tokenizer, texts: list[str], config: DataConfig, conversations: bool) -> TrainingData:
    """The texts, or conversations in their place, and others to validate on."""
    if conversations:
        chat = MarkedFormat(tokenizer, OURS)
        train, held_out = (ChatSet(talks(*side), chat, config.seq_len) for side in ((600, 1), (60, 2)))
        return ChatData(train=train, held_out=held_out, chat=chat)
    prepared = PreparedData(
        train=tokens(texts, tokenizer),
        validation=tokens(sentences(30, 2), tokenizer),
        tokenizer=tokenizer,
        folder=Path("unused"),
    )
    return TextData(prepared, config)


def stack(
    backend: str = "plain",
    optimizer: str = "adamw",
    loop: dict[str, Any] | None = None,
    document_mask: bool = False,
    conversations: bool = False,
    **model: Any,
) -> dict[str, Any]:
    """Arguments for `check`; `model` changes the configuration of the model, `loop` that of the loop."""
    texts = sentences(120, 1)
    tokenizer = train_characters(texts).extended([*OURS.tokens, *TOOL_TOKENS])
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
        data=DataConfig(seq_len=model.get("max_len", 32), tokenizer="char", document_mask=document_mask),
        optim=OptimConfig(name=optimizer),
        schedule=ScheduleConfig(warmup_steps=5),
        loop=LoopConfig(**{**usual, **(loop or {})}),
    )
    return of_config(config, made_up(tokenizer, texts, config.data, conversations))
