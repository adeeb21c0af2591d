"""Mutants that no law catches, and why."""

UNSEEN = "the stack's adapter offers nothing that runs this code"
SURVIVORS: dict[str, str] = {
    "llama_like/values-of-other-groups": "another labelling of the same weights: from outside, the same model",
    "plain/value-groups-reversed": "another labelling of the same weights: from outside, the same model",
    "llama_like/empty-text-accepted": "no logits for no tokens, as most models give",
    "checks/empty-text-accepted": "no ids have no smallest one, which torch refuses by itself",
    "checks/any-length-accepted": "the table of positions refuses by itself, or positions go on",
    "masks/window-one-too-wide": "whether a window of W counts the token itself is a matter of taste",
    "tables/rounded-with-the-model": "cosines rounded with the weights are as exact as the queries "
    "that they multiply, and GPT-J keeps them so: see docs/conventions.md",
    "llama_like/updates-lost-in-half-precision": "shows in a bf16 model; the one that is checked is in float32",
    "precision/updates-lost-in-half-precision": "shows in a bf16 model; the one that is checked is in float32",
    "llama_like/place-not-loaded": "save and load are not offered the loader unless they insist on one",
    "llama_like/letters-beyond-latin-lost": "taken for a tokenizer that normalises, where lost characters are advice",
    "llama_like/end-of-text-is-a-newline": "no law yet says that ordinary text never makes the end of a text",
    **dict.fromkeys(
        (
            "chat_rows/mask-inverted", "chat_rows/mask-one-early", "chat_rows/conversations-see-each-other",
            "chat_format/users-words-learned", "chat_format/end-of-turn-not-learned", "chat_format/results-learned",
            "chat_format/result-before-its-mark", "manifest/no-bos", "split/validation-seen-in-training",
            "bits_per_byte/left-in-evaluation-mode", "library/special-tokens-have-bytes", "bpe/space-in-front",
            "bpe/white-space-lost",
        ),
        UNSEEN,
    ),
}  # fmt: skip
