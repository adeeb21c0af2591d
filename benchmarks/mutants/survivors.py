"""Mutants that no law catches, and why."""

UNSEEN = "the stack's adapter offers nothing that runs this code"
SURVIVORS: dict[str, str] = {
    "llama_like/values-of-other-groups": "another labelling of the same weights: from outside, the same model",
    "plain/value-groups-reversed": "another labelling of the same weights: from outside, the same model",
    "llama_like/empty-text-accepted": "no logits for no tokens is right; a loss of none is NaN in nearly all code",
    "checks/empty-text-accepted": "no logits for no tokens, as most models give",
    "checks/any-length-accepted": "the table of positions refuses by itself, or positions go on",
    "llama_like/initialised-too-large": "first weights that are large are no law's business while the loss is near ln V",
    "llama_like/cache-not-reset": "not understood yet",
    "bits_per_byte/left-in-evaluation-mode": "each training step sets its mode itself, so none is taken in another",
    **dict.fromkeys(
        (
            "generate/stop-ignored",
        ),
        UNSEEN,
    ),
}  # fmt: skip
