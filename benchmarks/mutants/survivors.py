"""Mutants that no law catches, and why."""

SURVIVORS: dict[str, str] = {
    "llama_like/values-of-other-groups": "another labelling of the same weights: from outside, the same model",
    "plain/value-groups-reversed": "another labelling of the same weights: from outside, the same model",
    "llama_like/empty-text-accepted": "no logits for no tokens is right; a loss of none is NaN in nearly all code",
    "checks/empty-text-accepted": "no logits for no tokens, as most models give",
    "checks/any-length-accepted": "the table of positions refuses by itself, or positions go on",
    "bits_per_byte/left-in-evaluation-mode": "each training step sets its mode itself, so none is taken in another",
    "tables/rounded-with-the-model": "cosines rounded with the weights are as exact as the queries "
    "that they multiply, and GPT-J keeps them so: see docs/conventions.md",
}  # fmt: skip
