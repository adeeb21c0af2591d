"""One text and a list of texts have the same ids, with the marks that were asked for and no others."""

import random

from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.characters import train_characters


def probe(pick: random.Random) -> None:
    """Every combination of marks, over texts of unequal length, the empty one among them."""
    letters = "".join(pick.sample("abcdefghij klmnop", 8))
    texts = ["".join(pick.choices(letters, k=pick.randrange(12))) for _ in range(4)] + [""]
    for words in (train_characters([letters]), train_bpe(texts, vocab_size=270)):
        bare = [words.encode(text) for text in texts]
        for bos in (False, True):
            for eos in (False, True):
                front, back = [words.bos_id] * bos, [words.eos_id] * eos
                wanted = [[*front, *ids, *back] for ids in bare]
                assert words.encode(texts, bos=bos, eos=eos) == wanted
                assert [words.encode(text, bos=bos, eos=eos) for text in texts] == wanted
