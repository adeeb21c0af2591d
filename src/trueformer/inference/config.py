"""How the next token is picked, as data. Leaves out torch: a configuration is made without importing it."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """One row's sampling; the defaults draw from the model's own distribution.

    Filters apply in the order of the fields below, which is that of `transformers`: repetition penalty,
    temperature, top-k, top-p, min-p.

    Raises:
        ValueError: a number outside its meaning.
    """

    repetition_penalty: float = 1.0  # logits of tokens seen before: divided by it above 0, else multiplied
    temperature: float = 1.0  # 0: greedy, the most likely token
    top_k: int | None = None  # the k most likely, and any as likely as the k-th
    top_p: float = 1.0  # the smallest set of most likely tokens whose mass reaches p
    min_p: float = 0.0  # those at least this many times as likely as the most likely one
    seed: int = 0  # of this row's own generator: equal prompts with equal seeds give equal text

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"temperature is {self.temperature}: expected 0 (greedy) or more; "
                "1 leaves the distribution as it is, below 1 sharpens it"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}: expected at least 1, or None to keep every token")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}: expected above 0 and at most 1 (1 keeps every token)")
        if not 0 <= self.min_p <= 1:
            raise ValueError(
                f"min_p is {self.min_p}: expected 0 (keeps every token) to 1 (only the likeliest)"
            )
        if not 0 < self.repetition_penalty < math.inf:
            raise ValueError(
                f"repetition_penalty is {self.repetition_penalty}: expected above 0; "
                "1 is none, 1.1 to 1.3 are usual"
            )
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}: expected a whole number from 0 to 2^63 - 1")
