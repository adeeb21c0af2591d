"""What is written of a split is each document's ids, BOS in front of each of them, and nothing else."""

import random
import string
import tempfile
from pathlib import Path

import numpy as np

from trueformer.data.manifest import token_dtype, write_split
from trueformer.tokenization.characters import train_characters


def probe(pick: random.Random) -> None:
    """Writes documents of random letters, one of which spells the mark, and reads the file."""
    letters = string.ascii_lowercase + "<|>"
    words = train_characters([letters + "\n"])
    texts = ["".join(pick.choices(letters, k=pick.randrange(1, 30))) for _ in range(pick.randrange(2, 9))]
    texts.insert(pick.randrange(len(texts)), f"{pick.choice(letters)}<|bos|>")
    wanted = [i for text in texts for i in (words.bos_id, *(words.encode(c)[0] for c in text))]
    with tempfile.TemporaryDirectory() as folder:
        counts = write_split(Path(folder), "train", iter(texts), words, lambda _: None)
        ids = np.fromfile(Path(folder) / counts["shards"][0]["file"], dtype=token_dtype(words))
    assert ids.tolist() == wanted
    assert counts["tokens"] == len(wanted)
    assert counts["documents"] == len(texts)
