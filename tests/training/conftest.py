"""A corpus and a model so small that hundreds of steps take a second."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from trueformer.data.config import DataConfig
from trueformer.data.shards import PreparedData
from trueformer.data.token_set import TokenSet
from trueformer.models.config import DecoderConfig
from trueformer.optim.config import OptimConfig, ScheduleConfig
from trueformer.tokenization.characters import train_characters
from trueformer.training.config import LoopConfig, RunConfig
from trueformer.training.data import TextData
from trueformer.training.loop import Trainer
from trueformer.training.run import build_model

WHO, DID, WHERE = (
    ["cat", "dog", "owl", "fox"],
    ["sat", "sang", "hid"],
    ["on a mat", "in a tree", "by the sea"],
)


def sentences(count, seed):
    pick = random.Random(seed)
    return [f"the {pick.choice(WHO)} {pick.choice(DID)} {pick.choice(WHERE)}." for _ in range(count)]


@pytest.fixture(scope="session")
def tiny_data():
    """About 3,000 training and 700 validation characters, in memory."""
    train, validation = sentences(120, seed=1), sentences(30, seed=2)
    tokenizer = train_characters(train)

    def tokens(documents):
        ids = [i for document in documents for i in tokenizer.encode(document, bos=True)]
        n_bytes = sum(len(document.encode()) for document in documents)
        return TokenSet(
            [np.array(ids, dtype=np.uint16)],
            bos_id=tokenizer.bos_id,
            n_documents=len(documents),
            n_bytes=n_bytes,
            fingerprint=str(hash(tuple(ids))),
        )

    return PreparedData(
        train=tokens(train), validation=tokens(validation), tokenizer=tokenizer, folder=Path("unused")
    )


@pytest.fixture(scope="session")
def tiny_config(tiny_data):
    """A function from changes, by section, to a config: `tiny_config(loop={"steps": 5})`."""

    def make(*, model=None, data=None, optim=None, schedule=None, loop=None):
        shape = {
            "vocab_size": tiny_data.tokenizer.vocab_size,
            "max_len": 16,
            "d_model": 16,
            "n_layers": 1,
            "n_heads": 2,
        }
        usual = {"steps": 12, "batch_size": 4, "precision": "float32", "compile": False, "device": "cpu",
                 "eval_every": 6, "eval_batches": 2, "checkpoint_every": 4}  # fmt: skip
        return RunConfig(
            model=DecoderConfig(**(shape | (model or {}))),
            data=DataConfig(**({"seq_len": 16, "tokenizer": "char"} | (data or {}))),
            optim=OptimConfig(**(optim or {})),
            schedule=ScheduleConfig(**(schedule or {})),
            loop=LoopConfig(**(usual | (loop or {}))),
        )

    return make


@pytest.fixture
def make_trainer(tiny_data, tiny_config, tmp_path):
    """A function from the same changes to a trainer in a folder of its own."""

    def make(*, prepared=tiny_data, folder=tmp_path, callbacks=(), **changes):
        config = tiny_config(**changes)
        torch.manual_seed(config.loop.seed)
        model = build_model(config.model, config.loop)
        data = TextData(prepared, config.data)
        return Trainer(config, model, data, folder, device=torch.device("cpu"), callbacks=callbacks)

    return make
