"""The name of a special token in a text is text, unless special tokens are asked for."""

import random

from trueformer.tokenization.bpe import train_bpe


def probe(pick: random.Random) -> None:
    """Names of several fashions, alone and in the middle, in one text and in lists."""
    names = ["[END]", "</s>", "<|user_turn|>", "<extra>"]
    words = train_bpe(["some plain text"], vocab_size=265).extended(pick.sample(names, 4))
    ordinary = pick.choice(["", "so ", "日 "])
    for name, special in words.special_ids.items():
        text = ordinary + name + pick.choice(["", " and", "\n"])
        ids = words.encode(text)
        assert not set(ids) & set(words.special_ids.values()), name
        assert words.decode(ids) == text
        assert words.encode(["plain", text])[1] == ids
        assert special in words.encode(text, allow_special=True)
        assert special in words.encode([text, "plain"], allow_special=True)[0]
