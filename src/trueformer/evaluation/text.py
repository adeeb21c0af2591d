"""The text a model is measured on: its own run's validation split, or all of some other source.

Leaves out the measuring (`bits_per_byte.py`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trueformer.data.config import DataConfig
from trueformer.data.corpora import open_corpus
from trueformer.data.shards import cache_folder, prepare
from trueformer.data.token_set import TokenSet
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.run_folder import saved_config


def validation_split(run: Path, tokenizer: Tokenizer) -> tuple[TokenSet, DataConfig]:
    """What the run or checkpoint in the folder `run` was validated on, and how it was cut into rows.

    Raises:
        ValueError: there is no run's configuration, or its data have changed, so that another tokenizer
            came out.
    """
    data = saved_config(run).data
    if not isinstance(data, DataConfig):
        raise ValueError(f"{run} was fine-tuned on conversations: name a text, or a task with --task")
    prepared = prepare(data)
    if prepared.tokenizer.fingerprint != tokenizer.fingerprint:
        raise ValueError(
            f"{data.source} has changed since {run} was trained: a tokenizer trained on it now is another "
            "one; name a text to measure on"
        )
    return prepared.validation, data


def whole_text(sources: Sequence[str], tokenizer: Tokenizer) -> TokenSet:
    """Every document of the sources, tokenised in memory.

    Raises:
        FileNotFoundError: a source does not exist.
        ValueError: a source cannot be read, or there is no text.
    """
    cache = cache_folder(DataConfig())
    texts = [text for source in sources for text in open_corpus(source, cache).documents()]
    ids = [i for document in tokenizer.encode(texts, bos=True) for i in document]
    if len(ids) < 2:
        raise ValueError(f"{', '.join(sources)} holds no text to measure on")
    return TokenSet(
        [np.array(ids)],
        bos_id=tokenizer.bos_id,
        n_documents=len(texts),
        n_bytes=sum(len(text.encode()) for text in texts),
    )
