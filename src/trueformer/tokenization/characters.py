"""A character tokenizer: one id a character, with PAD, UNK, BOS and EOS; saved as a `tokenizer.json` too.

A character outside the alphabet becomes UNK, and UNK is decoded as U+FFFD, so that what was lost can be seen.
To the library it is a BPE without merges.
"""

from collections.abc import Iterable

import tokenizers
from tokenizers import AddedToken, decoders, models

from trueformer.tokenization.library import LibraryTokenizer, refuse_surrogates
from trueformer.tokenization.protocol import BOS, EOS, PAD, UNK


class CharTokenizer(LibraryTokenizer):
    """One id a character: `decode(encode(text)) == text` over its alphabet."""


def train_characters(texts: Iterable[str]) -> CharTokenizer:
    """The character tokenizer whose alphabet is every character of `texts`, in code-point order.

    Raises:
        ValueError: a text is not Unicode (a lone surrogate).
    """
    alphabet: set[str] = set()
    for text in texts:
        alphabet.update(text)
    refuse_surrogates("".join(sorted(alphabet)))
    names = [BOS, EOS, PAD, UNK, *sorted(alphabet)]
    library = tokenizers.Tokenizer(
        models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[], unk_token=UNK, fuse_unk=False)
    )
    library.add_special_tokens([AddedToken(n, normalized=False, special=True) for n in names[:4]])
    library.decoder = decoders.Fuse()  # type: ignore[assignment]
    return CharTokenizer(library, bos=BOS, eos=EOS, pad=PAD, unk=UNK)
