"""What can be wrong with a request for text, refused before any work, with value, expectation and remedy."""

from collections.abc import Collection, Sequence

from trueformer.inference.config import SamplingConfig
from trueformer.inference.steps import Steps
from trueformer.models.decoder import DecoderLM


def check_request(
    model: DecoderLM | Steps,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[SamplingConfig],
    max_new_tokens: int,
    stop_ids: Collection[int],
) -> None:
    """Refuse what `Decoding` cannot run.

    Raises:
        ValueError: see `Decoding`.
    """
    if isinstance(model, DecoderLM) and model.training:
        raise ValueError(
            "the model is in training mode, where dropout acts: call model.eval() before generating"
        )
    if not prompts:
        raise ValueError("there are no prompts: expected at least one")
    if len(rows) != len(prompts):
        raise ValueError(
            f"{len(rows)} sampling configurations for {len(prompts)} prompts: "
            "give one for all, or one a prompt"
        )
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}: expected a whole number of at least 1")
    vocab_size = model.config.vocab_size
    for i, prompt in enumerate(prompts):
        _check_prompt(f"prompt {i}", prompt, vocab_size, model.config.max_len)
    _check_ids("stop_ids", stop_ids, vocab_size)


def _check_prompt(name: str, prompt: Sequence[int], vocab_size: int, max_len: int) -> None:
    if len(prompt) == 0:
        raise ValueError(f"{name} is empty: expected at least one token; begin with the BOS token")
    if len(prompt) >= max_len:
        raise ValueError(
            f"{name} has {len(prompt)} tokens, which leaves no room in the model's max_len = {max_len}: "
            f"cut it to at most {max_len - 1}, or use a model with a greater max_len"
        )
    _check_ids(name, prompt, vocab_size)


def _check_ids(name: str, ids: Collection[int], vocab_size: int) -> None:
    for token in ids:
        if not 0 <= token < vocab_size:
            raise ValueError(
                f"{name} holds the id {token}: expected 0 to {vocab_size - 1} (vocab_size - 1); "
                "is this the tokenizer that the model was trained with?"
            )
