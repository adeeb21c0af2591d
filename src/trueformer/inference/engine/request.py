"""What is asked of the engine, and what it tells of each request. Leaves out how it is run (`engine.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from trueformer.inference.config import SamplingConfig
from trueformer.tokenization.conversations import ToolCall, ToolResult

# stop: a stop id or string · length: max_new_tokens · context: the slot is full · tool_calls: a call that the
# engine was not given tools to answer · cancelled · error: the model's logits are not finite
Reason = Literal["stop", "length", "context", "tool_calls", "cancelled", "error"]
MOST_LOGPROBS = 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """A prompt to go on from.

    Raises:
        ValueError: an empty prompt, or a number outside its meaning.
    """

    prompt: Sequence[int]
    max_new_tokens: int
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    stop_ids: frozenset[int] = frozenset()
    logprobs: int | None = None  # log-probabilities of each token and of so many likeliest; None: none
    tools: bool = False  # calls are noticed, and answered where the engine has tools

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("the prompt is empty: expected at least one token; begin with the BOS token")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_new_tokens}: expected a whole number of at least 1")
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_LOGPROBS:
            raise ValueError(f"logprobs is {self.logprobs}: expected 0 to {MOST_LOGPROBS}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was written, or put there by the program (`forced`); log-probabilities if asked for."""

    id: int
    forced: bool = False
    logprob: float | None = None  # natural, under the model's own distribution, before any filter
    top: tuple[tuple[int, float], ...] = ()  # the likeliest ids and theirs


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a request: a token, a whole call or result, or its end."""

    request: Request
    token: Token | None = None
    part: ToolCall | ToolResult | None = None
    reason: Reason | None = None
