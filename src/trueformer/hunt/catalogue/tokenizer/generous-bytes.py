"""The bytes of the tokens of a text are the bytes of the text; tokens that are no text have none."""

import random

from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.characters import train_characters


def probe(pick: random.Random) -> None:
    """Texts whose characters are split in the middle, with merges of some of their bytes."""
    scripts = [(0xA1, 0x250), (0x3040, 0x3090), (0x4E00, 0x4F00), (0x1F400, 0x1F440)]
    texts = ["".join(chr(pick.randrange(*pick.choice(scripts))) for _ in range(30)) for _ in range(6)]
    words = train_bpe(texts, vocab_size=pick.choice([275, 290, 310]))
    sizes = words.token_bytes()
    for text in [*texts, "".join(chr(pick.randrange(0x4E00, 0x9FA0)) for _ in range(9)), "plain"]:
        assert int(sizes[words.encode(text)].sum()) == len(text.encode()), text
    assert not sizes[list(words.special_ids.values())].any()
    letters = train_characters(["aé日"])
    ids = letters.encode("日éa?")
    assert letters.token_bytes()[ids].tolist() == [3, 2, 1, 0]
