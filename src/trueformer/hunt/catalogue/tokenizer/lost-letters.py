"""Every character of the training text has an id of its own, and comes back from it."""

import random

from trueformer.tokenization.characters import train_characters


def probe(pick: random.Random) -> None:
    """Alphabets of many scripts, with characters that lie a power of two apart."""
    text = "".join(chr(pick.randrange(0x21, 0x7F)) for _ in range(40)) + "0p 4t"
    text += "".join(chr(ord(c) + (1 << pick.randrange(7, 15))) for c in text[:20])
    text = "".join(c for c in text if c.isprintable() and not 0xD800 <= ord(c) < 0xE000)
    words = train_characters([text[:30], text[30:]])
    ids = words.encode(text)
    assert words.decode(ids) == text
    assert len(set(ids)) == len(set(text))
    assert len(ids) == len(text)
    assert not set(ids) & set(words.special_ids.values())
    assert words.encode("\U0001f989") == [words.unk_id]
    more = words.extended(["<|turn|>", "<|end|>"])
    assert more.encode(text) == ids
    assert more.decode(ids) == text
    assert not set(ids) & set(more.special_ids.values())
