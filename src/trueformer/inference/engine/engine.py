"""The engine: one forward pass a step over every request that is under way, each wherever it is in its text.

A request gets a slot, its prompt is read in chunks so that others go on meanwhile, and each step gives it a
token until it ends, which frees the slot for the next in the queue. What a request gets does not depend on
who else is there: it has its own seed, filters, end and keys; only the rounding of matrix products of
another height differs, by about one unit in the last place. Memory is allocated once.

A call of a tool is answered by a worker process while other requests go on; then `output_start`, the result
and `output_end` are put into the text, in this order, and the model goes on from there. It can never write
these marks itself.

    engine = Engine(model, n_slots=8, slot_len=1024)
    engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=50))
    while not engine.idle: events = engine.step()

One thread calls it (`thread.py` lets others in). Leaves out text and stop strings (`inference/reply.py`).
"""

import re
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from trueformer.inference.engine.compiled import CompiledStep
from trueformer.inference.engine.lookup import guess
from trueformer.inference.engine.pool import SlotPool
from trueformer.inference.engine.request import Event, Reason, Request, Token
from trueformer.inference.packed import packed
from trueformer.inference.sampling import NEVER, Sampler
from trueformer.inference.tools.box import ToolBox
from trueformer.models.decoder import DecoderLM
from trueformer.nn.slots import Share, SlotCache
from trueformer.tokenization.chat_format import ToolMarks, result_ids
from trueformer.tokenization.conversations import ToolCall, ToolResult
from trueformer.tokenization.protocol import Tokenizer

# Tokens of prompts read in one step. More, and whoever waits for one more token waits longer, as do the first
# of many prompts for the last; fewer, and each pass's fixed cost weighs more.
CHUNK = 96


class QueueFull(Exception):
    """As many requests wait as may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """What calls are noticed and answered with; without a box a call ends the request, for its sender."""

    tokenizer: Tokenizer
    marks: ToolMarks
    box: ToolBox | None


@dataclass(kw_only=True, eq=False)
class _Running:
    """A request with a slot. `ids` is its whole text; the slot holds the first few of them."""

    request: Request
    slot: int
    ids: list[int]
    generator: torch.Generator
    n_new: int = 0
    guessed: list[int] = field(default_factory=list)  # drafts in this step's pass, behind `ids`
    call_at: int | None = None  # where in `ids` a call began that has not ended
    answer: Future[str] | None = None  # of the tool it waits for


class Engine:
    """Requests under way over a fixed number of slots.

    The weights are taken as they are now: changed afterwards, they are not seen.
    `n_ids`: how many the tokenizer has; a model may have more, which mean nothing and are never taken.
    `look_up`: how many tokens are guessed a step where the likeliest is always taken (0: none).
    `compile_step`: passes that bring one token to each are compiled, here and now.

    Raises:
        ValueError: a model in training mode, or sizes that do not fit it.
    """

    def __init__(
        self,
        model: DecoderLM,
        *,
        n_slots: int,
        slot_len: int,
        tools: Tools | None = None,
        n_ids: int | None = None,
        look_up: int = 0,
        max_queue: int = 10_000,
        compile_step: bool = False,
    ) -> None:
        if model.training:
            raise ValueError("the model is in training mode, where dropout acts: call model.eval() first")
        weight = model.embedding.weight
        with torch.inference_mode():
            # A compiled pass has one slot more, to fill up rows with.
            self.cache = SlotCache(
                model.config, n_slots + compile_step, slot_len, dtype=weight.dtype, device=weight.device
            )
            self._compiled = CompiledStep(model, self.cache) if compile_step else None
        self.model, self.tools, self.look_up, self.max_queue = packed(model), tools, look_up, max_queue
        self._device, self._vocab_size = weight.device, model.config.vocab_size
        never = list(range(self._vocab_size if n_ids is None else n_ids, self._vocab_size))
        if tools is not None:  # only the program opens and closes results
            never += [tools.marks.output_start, tools.marks.output_end]
        self._never = torch.tensor(never, dtype=torch.long, device=self._device)
        self.n_slots, self._pool = n_slots, SlotPool(self.cache, n_slots)
        self._queue: deque[Request] = deque()
        self._running: list[_Running] = []

    @property
    def idle(self) -> bool:
        """Whether nothing is under way or waiting."""
        return not self._running and not self._queue

    @property
    def n_running(self) -> int:
        """Requests that have a slot."""
        return len(self._running)

    @property
    def n_waiting(self) -> int:
        """Requests that wait for one."""
        return len(self._queue)

    @property
    def stalled(self) -> bool:
        """Whether all that could go on waits for tools."""
        waiting = all(r.answer is not None and not r.answer.done() for r in self._running)
        return waiting and not (self._queue and self._pool.n_free)

    def check(self, request: Request) -> None:
        """Raise ValueError for a prompt that leaves no room in a slot, or ids outside the vocabulary."""
        room = self.cache.max_len
        if len(request.prompt) >= room:
            raise ValueError(
                f"the prompt has {len(request.prompt)} tokens: expected at most {room - 1}, since prompt and "
                f"answer together have room for {room}; shorten it, or serve with longer slots"
            )
        for token in {*request.prompt, *request.stop_ids}:
            if not 0 <= token < self._vocab_size:
                raise ValueError(
                    f"the id {token} is none of the model's: expected 0 to {self._vocab_size - 1}"
                )

    def submit(self, request: Request) -> None:
        """Let a request wait for a slot; the same object tells its events apart.

        Raises:
            ValueError: as `check`. QueueFull: too many wait.
        """
        self.check(request)
        if len(self._queue) >= self.max_queue + self._pool.n_free:  # whom a slot is free for does not wait
            raise QueueFull(f"{self.max_queue} requests wait already, as many as may: try again later")
        self._queue.append(request)

    def cancel(self, request: Request, reason: Reason = "cancelled") -> list[Event]:
        """End a request, waiting or under way, and free its slot; nothing if it has ended already."""
        if request in self._queue:
            self._queue.remove(request)
            return [Event(request, reason=reason)]
        found = [running for running in self._running if running.request is request]
        return [event for running in found for event in self._end(running, reason)]

    def forget(self) -> None:
        """Let no slot be used for what it still holds: every prompt is read whole from now on."""
        assert self.idle, "slots in use are needed"
        self._pool = SlotPool(self.cache, self.n_slots)

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One forward pass: read more of the prompts, and give a token to all who have been read."""
        events = [event for running in [*self._running] for event in self._take_answer(running)]
        rows, shares = self._rows()
        if not rows:
            return events
        return events + self._sample(self._forward(rows, shares))

    def _rows(self) -> tuple[list[tuple[_Running, list[int]]], list[Share]]:
        """Who takes part in this pass with which tokens: one more, or a part of what is to be read.

        Requests begin while this pass can read more, each after those before it are settled, so that it
        shares what they are about to read.
        """
        rows, shares, budget = [], [], CHUNK
        unsettled = deque(self._running)
        while unsettled or (self._queue and self._pool.n_free and budget):
            if unsettled:
                running = unsettled.popleft()
            else:
                running, share = self._begin(self._queue.popleft())
                shares += [share] if share else []
            part = self._part(running, budget)
            if part:
                budget -= len(part) if len(part) > 1 else 0
                running.guessed = self._guess(running, part)
                rows.append((running, part + running.guessed))
                self._pool.held[running.slot] += rows[-1][1]
        return rows, shares

    def _begin(self, request: Request) -> tuple[_Running, Share | None]:
        slot, share = self._pool.take(request.prompt)
        generator = torch.Generator().manual_seed(request.sampling.seed)
        running = _Running(request=request, slot=slot, ids=list(request.prompt), generator=generator)
        self._running.append(running)
        return running, share

    def _part(self, running: _Running, budget: int) -> list[int]:
        """What of a request's text goes into this pass; nothing while it waits.

        A piece that ends before its prompt does brings nobody a token, so it is read only where the pass
        reads nothing else.
        """
        unread = running.ids[len(self._pool.held[running.slot]) :]
        waits = running.answer is not None or (1 < len(unread) > budget < CHUNK)
        return [] if waits else unread[: max(budget, 1)]

    def _guess(self, running: _Running, unread: list[int]) -> list[int]:
        sampling = running.request.sampling
        if not self.look_up or len(unread) > 1 or sampling.temperature or sampling.repetition_penalty != 1:
            return []
        room = min(self.cache.max_len - len(running.ids), running.request.max_new_tokens - running.n_new) - 1
        return guess(running.ids, min(self.look_up, room)) if room > 0 else []

    def _forward(
        self, rows: Sequence[tuple[_Running, list[int]]], shares: Sequence[Share]
    ) -> list[tuple[_Running, Tensor]]:
        """Logits (T, V) after the last token of each row and each guess; a prompt not read whole has none."""
        if self._compiled is not None and not shares and all(len(ids) == 1 for _, ids in rows):
            slots = [running.slot for running, _ in rows]
            logits_BV, counts = self._compiled([ids[0] for _, ids in rows], slots), [1] * len(rows)
        else:
            logits_BV, counts = self._read(rows, shares)
        logits_BV[:, self._never] = NEVER
        parts = zip(rows, logits_BV.split(counts), strict=True)
        return [(running, part) for (running, _), part in parts if len(part)]

    def _read(
        self, rows: Sequence[tuple[_Running, list[int]]], shares: Sequence[Share]
    ) -> tuple[Float[Tensor, "B V"], list[int]]:
        """One uncompiled pass, any number of tokens a row; the logits wanted, and how many a row."""
        self.cache.plan([(running.slot, len(ids)) for running, ids in rows], shares)
        ids_1N = torch.tensor([[token for _, ids in rows for token in ids]], device=self._device)
        hidden_ND = self.model.hidden(ids_1N, cache=self.cache)[0]
        wanted: list[int] = []
        counts: list[int] = []
        end = 0
        for running, ids in rows:
            end += len(ids)
            whole = self.cache.lengths[running.slot] - len(running.guessed) == len(running.ids)
            counts.append(1 + len(running.guessed) if whole else 0)
            wanted += range(end - counts[-1], end)
        wanted_B = torch.tensor(wanted, dtype=torch.long, device=self._device)
        return self.model.logits(hidden_ND[wanted_B]), counts

    def _sample(self, ready: list[tuple[_Running, Tensor]]) -> list[Event]:
        """A token for each row, and one more for each guess that was right."""
        events: list[Event] = []
        sound = []
        for running, logits_TV in ready:
            if bool(logits_TV.amax(dim=-1).isfinite().all()):
                sound.append((running, logits_TV))
            else:
                events += self._end(running, "error")
        if not sound:
            return events
        first_B = self._draw([running for running, _ in sound], torch.stack([part[0] for _, part in sound]))
        for (running, logits_TV), first in zip(sound, first_B.tolist(), strict=True):
            events += self._accept(running, first, logits_TV[0])
            for place, guessed in enumerate(running.guessed, start=1):
                if running not in self._running or running.answer or running.ids[-1] != guessed:
                    break
                events += self._accept(running, int(logits_TV[place].argmax()), logits_TV[place])
            self._forget_wrong_guesses(running)
        return events

    def _draw(self, rows: list[_Running], logits_BV: Float[Tensor, "B V"]) -> Tensor:
        sampler = Sampler(
            [running.request.sampling for running in rows],
            self._device,
            generators=[running.generator for running in rows],
        )
        seen_BV = torch.zeros(len(rows), self._vocab_size, dtype=torch.bool, device=self._device)
        for i, running in enumerate(rows):
            if running.request.sampling.repetition_penalty != 1:
                seen_BV[i, running.ids] = True
        return sampler.sample(logits_BV, seen_BV)

    def _forget_wrong_guesses(self, running: _Running) -> None:
        """The slot keeps the tokens of the text only, less the last, which the next pass feeds."""
        length = min(self.cache.lengths[running.slot], len(running.ids) - 1)
        self.cache.cut(running.slot, length)
        del self._pool.held[running.slot][length:]

    def _accept(self, running: _Running, token: int, logits_V: Float[Tensor, "V"]) -> list[Event]:
        request = running.request
        if token in request.stop_ids:
            return self._end(running, "stop")
        running.ids.append(token)
        running.n_new += 1
        events = [Event(request, token=_told(token, logits_V, request.logprobs))]
        if request.tools and self.tools is not None:
            events += self._notice_call(running, token, self.tools)
        return events + self._end_if_full(running)

    def _end_if_full(self, running: _Running) -> list[Event]:
        if running not in self._running:
            return []
        if running.n_new >= running.request.max_new_tokens:
            return self._end(running, "length")
        if len(running.ids) >= self.cache.max_len:
            return self._end(running, "context")
        return []

    def _notice_call(self, running: _Running, token: int, tools: Tools) -> list[Event]:
        if token == tools.marks.call_start:
            running.call_at = len(running.ids)
        if token != tools.marks.call_end or running.call_at is None:
            return []
        said = tools.tokenizer.decode(running.ids[running.call_at : -1])
        running.call_at = None
        name, given = (*re.split(r"\s", said, maxsplit=1), "")[:2]
        if not name:
            return []
        events = [Event(running.request, part=ToolCall(name, given))]
        if tools.box is None:
            return events + self._end(running, "tool_calls")
        running.answer = tools.box.start(name, given)
        return events

    def _take_answer(self, running: _Running) -> list[Event]:
        """Put a tool's result into the text, once it is there."""
        if running.answer is None or not running.answer.done():
            return []
        assert self.tools is not None
        result, running.answer = running.answer.result(), None
        forced = result_ids(self.tools.tokenizer, self.tools.marks, result)
        running.ids += forced
        running.n_new += len(forced)
        events = [Event(running.request, part=ToolResult(result))]
        events += [Event(running.request, token=Token(token, forced=True)) for token in forced]
        return events + self._end_if_full(running)

    def _end(self, running: _Running, reason: Reason) -> list[Event]:
        if running.answer is not None:
            running.answer.cancel()
        self._running.remove(running)
        self._pool.release(running.slot, damaged=reason == "error")
        return [Event(running.request, reason=reason)]


def _told(token: int, logits_V: Float[Tensor, "V"], n: int | None) -> Token:
    """The token with its log-probabilities, if asked for."""
    if n is None:
        return Token(token)
    logp_V = logits_V.float().log_softmax(dim=-1)
    best = logp_V.topk(min(n, len(logp_V)))
    top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return Token(token, logprob=float(logp_V[token]), top=top)
