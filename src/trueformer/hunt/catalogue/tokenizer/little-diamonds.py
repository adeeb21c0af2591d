"""Text of any script comes back from its ids, however its characters are split into tokens."""

import random

from trueformer.tokenization.bpe import train_bpe


def probe(pick: random.Random) -> None:
    """Characters of two, three and four bytes; half of one is shown as U+FFFD."""
    words = train_bpe(["plain text only"], vocab_size=262)
    ranges = [(0xA1, 0x250), (0x400, 0x450), (0x3040, 0x3090), (0x4E00, 0x9FA0), (0x1F400, 0x1F4F0)]
    text = "".join(chr(pick.randrange(*pick.choice(ranges))) + pick.choice("ab ") for _ in range(20))
    ids = words.encode(text)
    assert words.decode(ids) == text
    assert words.decode(words.encode("a" + chr(pick.randrange(0x4E00, 0x9FA0)))[:-1]) == "a\ufffd"
