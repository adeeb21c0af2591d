"""`trueformer generate`: continue text, or answer one message, with any model that can be loaded."""

from dataclasses import dataclass
from typing import Literal, TypedDict

import tyro


class SamplingOptions(TypedDict, total=False):
    """How tokens are drawn."""

    temperature: float
    """0 takes the likeliest token; 1 draws as the model says (0.8)."""
    top_k: int
    """Draw among the k likeliest."""
    top_p: float
    """Draw among the fewest tokens that hold this probability."""
    min_p: float
    """Drop tokens below this share of the likeliest one's probability."""
    repetition_penalty: float
    """Above 1 makes tokens that were used less likely (1)."""
    seed: int
    """Of the draws; one seed gives one text (0)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generate:
    """Continue a text, or answer a message where the model has a chat template.

    Examples:

      trueformer generate runs/shakespeare --prompt "ROMEO:"
      trueformer generate smollm2 --chat --prompt "What is the capital of France?" --temperature 0
    """

    model: tyro.conf.Positional[str]
    """A run, a checkpoint, a Hugging Face folder, a .gguf file, or smollm2."""
    prompt: str = "\n"
    """What to go on from, or with --chat the message; - reads standard input."""
    chat: tyro.conf.FlagCreatePairsOff[bool] = False
    """Put the prompt through the model's chat template, as the user's message."""
    max_new_tokens: int = 256
    """Tokens at most."""
    stop: tuple[str, ...] = ()
    """End before any of these texts."""
    compile: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compile the decoding step: half a minute first, then several times as fast."""
    quantize: Literal["none", "int8"] = "none"
    """Weights in 8 bits, with --compile."""
    dtype: Literal["float32", "bf16"] = "float32"
    """What weights are held in."""
    sampling: SamplingOptions

    def run(self) -> int:
        """Print the text as it comes; returns the exit code."""
        raise NotImplementedError
