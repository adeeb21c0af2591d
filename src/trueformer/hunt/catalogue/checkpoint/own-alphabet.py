"""A tokenizer that is written and read again has the same ids for the same text."""

import random
import tempfile
from pathlib import Path

from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.load import load_tokenizer


def probe(pick: random.Random) -> None:
    """Characters and bytes, with tokens added in any order, from the file and from its folder."""
    text = "".join(
        chr(pick.choice([pick.randrange(0x21, 0x7F), pick.randrange(0xC0, 0x250)])) for _ in range(60)
    )
    marks = pick.sample(["<|turn|>", "<|end_of_turn|>", "[A]", "<|system_turn|>"], 3)
    for words in (
        train_characters([text]).extended(marks),
        train_bpe([text], vocab_size=270).extended(marks),
    ):
        with tempfile.TemporaryDirectory() as name:
            words.save(Path(name) / "tokenizer.json")
            for place in (Path(name), Path(name) / "tokenizer.json"):
                again = load_tokenizer(place)
                assert again.encode(text) == words.encode(text)
                assert again.decode(words.encode(text)) == text
                assert again.special_ids == words.special_ids
                assert again.vocab_size == words.vocab_size
                roles = ("bos_id", "eos_id", "pad_id", "unk_id")
                assert all(getattr(again, role) == getattr(words, role) for role in roles)
                assert again.fingerprint == words.fingerprint
