"""Rules about tokenizers: ids that collide, and a vocabulary that is made up anew."""

import ast
from collections.abc import Iterator

from trueformer.doctor.lint.reading import Reading, last, names, parts
from trueformer.doctor.lint.rule import Found, rule

TOKENS = {
    "token",
    "tokens",
    "tokenize",
    "tokenizer",
    "tokenise",
    "encode",
    "ids",
    "id",
    "vocab",
    "text",
    "dataset",
}
SIZES = {"vocab_size", "n_vocab", "num_tokens", "vocabulary_size", "padded_vocab_size"}


@rule(
    "ord-modulo",
    words=("ord(",),
    statement="Different characters have different ids.",
    source="Finding A12.",
    looks="`ord(character) % n` where names speak of tokens, ids, vocabulary or text.",
    tolerance="Silent on hashes and ciphers: there more than the character goes into the remainder.",
    symptoms="Characters share ids, most of the embedding is never trained, text cannot be decoded.",
    causes="A stand-in for a tokenizer that stayed.",
    remedy="use a real vocabulary: characters seen, bytes, or byte-level BPE",
)
def ord_modulo(code: Reading) -> Iterator[Found]:
    """A remainder forgets which character it was.

    Wrong:
        def encode(text):
            return [ord(c) % 1000 for c in text]

    Right:
        def encode(text):
            return list(text.encode("utf-8"))
    """
    for call in code.calls("ord"):
        outer = code.parent(call)
        if isinstance(outer, ast.BinOp) and isinstance(outer.op, ast.Mod) and outer.left is call:
            function, statement = code.function(call), code.statement(call)
            said = {function.name} if function else set()
            said |= names(statement) if statement and not isinstance(statement, ast.FunctionDef) else set()
            if {part for name in said for part in parts(name)} & TOKENS:
                yield Found(outer, f"{ast.unparse(outer)} gives different characters the same id")


@rule(
    "made-up-vocabulary",
    words=("range(",),
    statement="Text is decoded with the tokenizer the model was trained with.",
    source="Finding T15.",
    looks="A tokenizer or a table of characters built from range(vocab_size).",
    tolerance="Silent on ranges of another size, such as the 256 bytes.",
    symptoms="A model with a good loss writes gibberish.",
    causes="The vocabulary was not saved with the model; its size was all there was.",
    remedy="save the tokenizer with the checkpoint and load it from there",
)
def made_up_vocabulary(code: Reading) -> Iterator[Found]:
    """Only the size is kept, so the meaning of every id is invented.

    Wrong:
        def restore(checkpoint):
            chars = [chr(i) for i in range(checkpoint["model"].vocab_size)]
            return dict(enumerate(chars))

    Right:
        def restore(checkpoint):
            return dict(enumerate(checkpoint["characters"]))
    """
    for call in code.calls("range"):
        sized = len(call.args) == 1 and (last(call.args[0]) in SIZES or _key(call.args[0]) in SIZES)
        if sized and (_makes_characters(code, call) or _makes_tokenizer(code, call)):
            yield Found(call, "a vocabulary is made up from its size: ids no longer mean what they meant")


def _key(node: ast.expr) -> str:
    """The constant key of `config["vocab_size"]`."""
    key = node.slice if isinstance(node, ast.Subscript) else None
    return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""


def _makes_characters(code: Reading, call: ast.Call) -> bool:
    """Whether a comprehension over the range, or a map, turns its numbers into characters."""
    for outer in code.around(call):
        if isinstance(outer, ast.stmt):
            return False
        if isinstance(outer, ast.comprehension) and outer.iter is call:
            made = code.parent(outer)
            shown = made.elt if isinstance(made, ast.ListComp | ast.GeneratorExp | ast.SetComp) else None
            shown = made.value if isinstance(made, ast.DictComp) else shown
            return shown is not None and _is_character(shown)
        if isinstance(outer, ast.Call) and last(outer.func) == "map":
            return last(outer.args[0]) == "chr"
    return False


def _is_character(shown: ast.expr) -> bool:
    return isinstance(shown, ast.Call) and last(shown.func) in ("chr", "str")


def _makes_tokenizer(code: Reading, call: ast.Call) -> bool:
    """Whether the range, or a list of it, is what a tokenizer is built from."""
    outer = code.parent(call)
    if isinstance(outer, ast.Call) and last(outer.func) in ("list", "tuple", "set"):
        outer = code.parent(outer)
    name = last(outer.func) if isinstance(outer, ast.Call) else ""
    return name[:1].isupper() and name.endswith("Tokenizer")
