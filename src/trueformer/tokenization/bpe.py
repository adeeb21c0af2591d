"""Byte-level BPE: any Unicode text becomes ids and comes back unchanged. Trained and run by `tokenizers`.

Text is first cut by GPT-4's pattern in Llama 3's spelling (contractions, words with the space before them,
numbers of up to three digits, punctuation with the line breaks after it, white space), then merged inside
the pieces. Nothing is normalised.
"""

from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

from trueformer.tokenization.library import LibraryTokenizer, refuse_surrogates
from trueformer.tokenization.protocol import BOS, EOS, PAD

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SMALLEST = 256 + 3  # every byte, and BOS, EOS, PAD


class ByteBPE(LibraryTokenizer):
    """A byte-level BPE: `decode(encode(text)) == text` for every Unicode string.

    Wraps one trained here, or any `tokenizers.Tokenizer` with a byte-level decoder (GPT-2, Llama 3, Qwen).
    An imported tokenizer keeps its own normaliser, if it has one, and then returns the normalised text.
    """


def train_bpe(texts: Iterable[str], vocab_size: int) -> ByteBPE:
    """Learn a byte-level BPE of at most `vocab_size` ids (specials and bytes included) from `texts`.

    Fewer ids come out when the texts have no more pairs to merge.

    Raises:
        ValueError: `vocab_size` has no room for the bytes and the special tokens, or a text is not Unicode.
    """
    if vocab_size < SMALLEST:
        raise ValueError(
            f"vocab_size is {vocab_size}: expected at least {SMALLEST}, for 256 bytes and 3 specials"
        )
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )  # type: ignore[assignment]
    library.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(name, normalized=False, special=True) for name in (BOS, EOS, PAD)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(_checked(texts), trainer)
    return ByteBPE(library, bos=BOS, eos=EOS, pad=PAD)


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        refuse_surrogates(text)
        yield text
