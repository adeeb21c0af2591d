"""One small tokenizer of each kind, trained once for all tests of this folder."""

import pytest

from trueformer.tokenization.bpe import ByteBPE, train_bpe
from trueformer.tokenization.characters import CharTokenizer, train_characters

TEXTS = [
    "the quick brown fox jumps over the lazy dog, and the dog doesn't mind; 12345 times in 1999.\n\n",
    "def word(line):\n    return [w.strip() for w in line.split(' ')]\r\n",
    "naïve café, 東京タワー, Ελλάδα, не спеши, مرحبا, 👩‍🚀🏳️‍🌈 and e\u0301\n",
] * 3


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def bpe() -> ByteBPE:
    return train_bpe(TEXTS, 400)


@pytest.fixture(scope="session")
def characters() -> CharTokenizer:
    return train_characters(TEXTS)


@pytest.fixture(params=["bpe", "characters"])
def tokenizer(request: pytest.FixtureRequest) -> ByteBPE | CharTokenizer:
    return request.getfixturevalue(request.param)
