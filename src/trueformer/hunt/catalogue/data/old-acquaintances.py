"""A split parts the documents: none on both sides, none lost, equal ones together, each side the same at each reading."""

import random
from collections import Counter

from trueformer.data.split import split_by_hash


def probe(pick: random.Random) -> None:
    """Splits random documents, some of which come twice, and compares the sides as texts."""
    texts = [f"{pick.random()} {pick.random()}" for _ in range(pick.randrange(200, 300))]
    texts += pick.sample(texts, 60)
    pick.shuffle(texts)
    share = pick.choice([0.2, 0.3])
    split = split_by_hash(lambda: iter(texts), share)
    train, held_out = list(split.train()), list(split.validation())
    assert not set(train) & set(held_out)
    assert Counter(train + held_out) == Counter(texts)
    assert list(split.train()) == train
    assert list(split.validation()) == held_out
    assert abs(len(held_out) / len(texts) - share) < 0.15
    again = split_by_hash(lambda: iter(texts), share)
    assert list(again.validation()) == held_out
