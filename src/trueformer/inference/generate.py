"""Continue prompts token by token: ids in, ids out; one row or many of unequal length, whole or streamed.

A row of a batch gets what it gets alone: its own padding, seed, filters and end. Each token costs one forward
pass over itself, thanks to the cache. A row ends with a reason: `stop` (a stop id, not returned), `length`
(max_new_tokens), `context` (prompt and new tokens fill the model's max_len). `plain.py` has the readable
twin; `text.py` takes and gives text. Leaves out rows that join later.

    generate(model, [[1, 2, 3]], SamplingConfig(temperature=0.8, seed=1), max_new_tokens=50)
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from trueformer.inference.checks import check_request
from trueformer.inference.config import SamplingConfig
from trueformer.inference.sampling import Sampler
from trueformer.inference.steps import EagerSteps, Steps
from trueformer.models.decoder import DecoderLM

Reason = Literal["stop", "length", "context"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """The new tokens of one row, and why there are no more."""

    ids: list[int]
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One row's step: its next token (None: a stop id came), and why the row ends, if it does."""

    row: int
    token: int | None
    reason: Reason | None


def generate(
    model: DecoderLM | Steps,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig | Sequence[SamplingConfig] = SamplingConfig(),  # noqa: B008 - frozen
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
) -> list[Generation]:
    """The continuation of each prompt, in order; arguments and errors as for `Decoding`."""
    decoding = Decoding(model, prompts, sampling, max_new_tokens=max_new_tokens, stop_ids=stop_ids)
    while not decoding.done:
        decoding.step()
    return decoding.results()


def stream(
    model: DecoderLM | Steps,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig | Sequence[SamplingConfig] = SamplingConfig(),  # noqa: B008 - frozen
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
) -> Iterator[Event]:
    """The tokens of `generate` as they come, row by row within a step; a wrong request is refused at once."""
    decoding = Decoding(model, prompts, sampling, max_new_tokens=max_new_tokens, stop_ids=stop_ids)

    def events() -> Iterator[Event]:
        while not decoding.done:
            yield from decoding.step()

    return events()


class Decoding:
    """A batch under way: `step` gives every unfinished row one token.

    `sampling`: one configuration for all rows, seed included, or one a row. `model`: a `DecoderLM` in
    evaluation mode, or a `CompiledDecoder` of one.

    Raises:
        ValueError: no prompts, an empty prompt, one that leaves no room within max_len, ids outside the
            vocabulary, max_new_tokens below 1, a wrong number of configurations, a model in training mode.
    """

    def __init__(
        self,
        model: DecoderLM | Steps,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingConfig | Sequence[SamplingConfig],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
    ) -> None:
        rows = [sampling] * len(prompts) if isinstance(sampling, SamplingConfig) else list(sampling)
        check_request(model, prompts, rows, max_new_tokens, stop_ids)
        self._steps = EagerSteps(model) if isinstance(model, DecoderLM) else model
        self.prompts = [list(prompt) for prompt in prompts]
        self._ids = [list(prompt) for prompt in prompts]
        self._reasons: list[Reason | None] = [None] * len(prompts)
        self._max_new_tokens, self._stop_ids = max_new_tokens, frozenset(stop_ids)
        self._max_len = self._steps.config.max_len
        self._steps.refuse(len(prompts), max(self._final_length(row) for row in range(len(prompts))))
        self._sampler = Sampler(rows, self._steps.device)
        self._rows: list[int] = []  # the rows in the cache, in its order; none before the first step

    @property
    def done(self) -> bool:
        """Whether every row has ended."""
        return all(self._reasons)

    def results(self) -> list[Generation]:
        """What each row has got; every row must have ended."""
        assert self.done, "rows are still growing"
        return [
            Generation(ids=ids[len(prompt) :], reason=reason)
            for ids, prompt, reason in zip(self._ids, self.prompts, self._reasons, strict=True)
            if reason is not None
        ]

    def finish(self, row: int) -> None:
        """End a row from outside, as for a stop string; its tokens so far stay, and `stop` is the reason."""
        self._reasons[row] = "stop"

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One token for each unfinished row, in order of rows."""
        logits_BV = self._next_logits()
        tokens = self._sampler.sample(logits_BV, self._seen_BV).tolist()
        events = [
            self._accept(row, token)
            for row, token in zip(self._rows, tokens, strict=True)
            if self._reasons[row] is None
        ]
        self._remember(tokens)
        return events

    def _final_length(self, row: int) -> int:
        return min(len(self.prompts[row]) + self._max_new_tokens, self._max_len)

    def _next_logits(self) -> torch.Tensor:
        if self._rows and not self._steps.full():
            return self._steps.decode(self._last_B)
        # The start; or a short row goes on after its longer neighbours filled the cache and ended.
        going = [row for row, reason in enumerate(self._reasons) if reason is None]
        if self._rows:
            self._sampler = self._sampler.take([self._rows.index(row) for row in going])
        self._rows = going
        longest = max(len(self._ids[row]) for row in going)
        more = max(self._final_length(row) - len(self._ids[row]) for row in going)
        device, vocab_size = self._steps.device, self._steps.config.vocab_size
        self._seen_BV = torch.zeros(len(going), vocab_size, dtype=torch.bool, device=device)
        for i, row in enumerate(going):
            self._seen_BV[i, self._ids[row]] = True
        return self._steps.prefill([self._ids[row] for row in going], min(longest + more, self._max_len))

    def _accept(self, row: int, token: int) -> Event:
        if token in self._stop_ids:
            self._reasons[row] = "stop"
            return Event(row=row, token=None, reason="stop")
        self._ids[row].append(token)
        if len(self._ids[row]) == len(self.prompts[row]) + self._max_new_tokens:
            self._reasons[row] = "length"
        elif len(self._ids[row]) == self._max_len:
            self._reasons[row] = "context"
        return Event(row=row, token=token, reason=self._reasons[row])

    def _remember(self, tokens: list[int]) -> None:
        """What the next step feeds; an ended row goes on feeding its own tokens, which nobody reads."""
        self._last_B = torch.tensor(tokens, device=self._steps.device)
        self._seen_BV.scatter_(1, self._last_B[:, None], True)
