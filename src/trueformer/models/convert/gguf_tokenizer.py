"""Our tokenizer from the one inside a GGUF file: byte-level BPE from its tokens, merges and special ids.

How text is split before merging is only a name in the file; the patterns behind the names are here, as data,
for the families that `gguf` imports. Leaves out SentencePiece and WordPiece vocabularies.
"""

from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from trueformer.models.convert.gguf_file import GGUFFile
from trueformer.tokenization.bpe import SPLIT, ByteBPE

CONTROL, USER_DEFINED = 3, 4  # values of tokenizer.ggml.token_type


def _gpt2() -> list[Any]:
    return [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]


def _smollm() -> list[Any]:
    return [pre_tokenizers.Digits(individual_digits=True), *_gpt2()]


def _pattern(pattern: str) -> Callable[[], list[Any]]:
    return lambda: [
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


SPLITS: dict[str, Callable[[], list[Any]]] = {
    "gpt-2": _gpt2,
    "smollm": _smollm,
    "llama-bpe": _pattern(SPLIT),
    "qwen2": _pattern(SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")),
}
WHOLE_WORDS = ("llama-bpe",)  # a piece that is a token is taken as it is, whatever the merges say


def tokenizer_from_gguf(file: GGUFFile) -> ByteBPE:
    """The tokenizer that the `tokenizer.ggml.*` entries describe.

    Raises:
        ValueError: another kind of tokenizer, an unknown way of splitting, or entries that contradict others.
    """

    def get(key: str, kind: type, default: Any = None) -> Any:
        return file.get(f"tokenizer.ggml.{key}", kind, default)

    model, split = get("model", str), get("pre", str, "gpt-2")
    if model != "gpt2":
        raise ValueError(f"{file.path}: tokenizer.ggml.model is {model!r}, expected 'gpt2' (byte-level BPE)")
    if split not in SPLITS:
        raise ValueError(f"{file.path}: tokenizer.ggml.pre is {split!r}, expected one of {', '.join(SPLITS)}")
    tokens = get("tokens", list, [])
    library = _library(tokens, get("merges", list, []), split, file)
    _add_whole_tokens(library, tokens, get("token_type", list, []))
    eos = get("eos_token_id", int)
    if eos is None:
        raise ValueError(f"{file.path}: tokenizer.ggml.eos_token_id is missing, expected what ends a text")
    return ByteBPE(
        library,
        bos=get("bos_token_id", int, eos),
        eos=eos,
        pad=get("padding_token_id", int),
        adds_bos=get("add_bos_token", bool, split in WHOLE_WORDS),  # llama.cpp's default for Llama 3
    )


def _library(tokens: list[str], merges: list[str], split: str, file: GGUFFile) -> Tokenizer:
    if not all(isinstance(token, str) for token in (*tokens, *merges)):
        raise ValueError(f"{file.path}: tokenizer.ggml.tokens or merges hold numbers, expected text")
    if len(set(tokens)) != len(tokens):
        raise ValueError(f"{file.path}: tokenizer.ggml.tokens holds a token twice, expected one id for each")
    pairs = [tuple(merge.split(" ")) for merge in merges]
    try:
        model = models.BPE(
            vocab={token: i for i, token in enumerate(tokens)},
            merges=pairs,  # type: ignore[arg-type]
            ignore_merges=split in WHOLE_WORDS,
        )
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"{file.path}: tokenizer.ggml.merges do not fit the tokens: {error}") from error
    library = Tokenizer(model)
    library.pre_tokenizer = pre_tokenizers.Sequence(SPLITS[split]())  # type: ignore[assignment]
    library.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return library


def _add_whole_tokens(library: Tokenizer, tokens: list[str], kinds: list[int]) -> None:
    """Tokens that are never cut: control tokens are special, user-defined ones (such as <think>) are text."""
    named = [
        (token, kind) for token, kind in zip(tokens, kinds, strict=False) if kind in (CONTROL, USER_DEFINED)
    ]
    special = [AddedToken(token, normalized=False, special=True) for token, kind in named if kind == CONTROL]
    library.add_special_tokens(special)
    library.add_tokens(
        [AddedToken(t, normalized=False, special=False) for t, kind in named if kind == USER_DEFINED]
    )
