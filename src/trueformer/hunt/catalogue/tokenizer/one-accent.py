"""Every byte has a token that stands for it and for no other."""

import random

from trueformer.tokenization.bpe import train_bpe


def probe(pick: random.Random) -> None:
    """The tokens of single bytes are the 256 bytes; characters with any of them come back."""
    words = train_bpe(["plain text", "even plainer"], vocab_size=pick.choice([259, 270]))
    pieces = [words.piece(i) for i in range(words.vocab_size) if i not in words.special_ids.values()]
    assert sorted(piece for piece in pieces if len(piece) == 1) == [bytes([b]) for b in range(256)]
    start = pick.randrange(0xA0, 0x2000)
    text = "".join(chr(i) for i in range(start, start + 70))
    assert words.decode(words.encode(text)) == text
    assert int(words.token_bytes()[words.encode(text)].sum()) == len(text.encode())
