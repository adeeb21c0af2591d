"""What may be asked, as pydantic reads it from JSON: types are strict, numbers finite, unknown fields let be.

Fields that OpenAI has and this server cannot honour are refused, each with what to send, unless they ask for
nothing. Leaves out whether numbers mean something (`SamplingConfig`, `Request`) and messages
(`data/chats/openai_messages.py`).

    ChatBody.model_validate_json(body)
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_CHOICES = 128  # of one HTTP request
MOST_STOPS = 4
SEEDS = 2**63
LONGEST_STOP = 256  # characters; each is looked for after every token
Stop = str | list[str] | None

# By field: values that ask for nothing, and what to do instead.
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "audio": ((), "this model writes text only; leave it out"),
    "best_of": ((1,), "ask for n completions and choose among them"),
    "echo": ((False,), "the prompt is not repeated; put it in front yourself"),
    "frequency_penalty": ((0,), "send repetition_penalty instead, such as 1.1"),
    "function_call": (("auto", "none"), "the model decides itself when to use a tool; leave it out"),
    "functions": (([],), "the server has its own tools (GET /v1/models names them); leave it out"),
    "logit_bias": (({},), "tokens cannot be favoured; leave it out"),
    "modalities": ((["text"],), 'this model writes text only; leave it out or send ["text"]'),
    "prediction": ((), "serve with --look-up to have tokens guessed; leave it out"),
    "presence_penalty": ((0,), "send repetition_penalty instead, such as 1.1"),
    "response_format": (
        ({"type": "text"},),
        'the form cannot be enforced; leave it out or send {"type": "text"}',
    ),
    "suffix": (("",), "text cannot be filled in before another; leave it out"),
    "tool_choice": (("auto",), "the model decides itself when to use a tool; leave it out"),
    "web_search_options": ((), "there is no search; leave it out"),
}


class StreamOptions(BaseModel):
    """How a stream is sent."""

    model_config = ConfigDict(strict=True, extra="ignore")
    include_usage: bool = False


class Body(BaseModel):
    """What both kinds of request hold. `top_k`, `min_p` and `repetition_penalty` are not OpenAI's."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)
    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    max_tokens: int | None = Field(None, ge=1)
    stop: Stop = None
    seed: int | None = Field(None, ge=0, lt=SEEDS)
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_cannot_be_done(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            raise ValueError('the body is no JSON object: expected one such as {"model": …}')
        for name, (asking_for_nothing, remedy) in REFUSED.items():
            value = values.get(name)
            if value is not None and not any(value == nothing for nothing in asking_for_nothing):
                raise ValueError(f"{name} is not supported: {remedy}")
        return values

    @model_validator(mode="after")
    def _refuse_odd_stops(self) -> "Body":
        if len(self.stops) > MOST_STOPS:
            raise ValueError(f"stop has {len(self.stops)} strings: expected at most {MOST_STOPS}")
        if any(not 0 < len(stop) <= LONGEST_STOP for stop in self.stops):
            raise ValueError(
                f"stop has a string that is empty or long: expected 1 to {LONGEST_STOP} characters"
            )
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options are for streams: send stream: true as well, or leave them out")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, none or several."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with how many tokens it took."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionBody(Body):
    """POST /v1/completions."""

    prompt: Any  # a string, a list of them, token ids, or a list of such: told apart in `asked.py`
    logprobs: int | None = None


class ChatBody(Body):
    """POST /v1/chat/completions."""

    messages: Any
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = None

    @model_validator(mode="after")
    def _refuse_top_without_logprobs(self) -> "ChatBody":
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: send logprobs: true as well, or leave it out")
        return self

    @property
    def tool_names(self) -> list[str]:
        """The names of the tools that the client declares."""
        functions = [tool.get("function") for tool in self.tools or []]
        return [str(function.get("name")) if isinstance(function, dict) else "?" for function in functions]
