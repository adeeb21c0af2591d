"""One HTTP request's share of the engine: its choices start together, and end when it ends, however it ends.

    with Generation(service, asked, metrics) as generation:
        async for index, piece in generation.pieces(): …

Events come from the engine's thread over the event loop's. Whoever leaves the block, by a client that went
away, a time-out or a server that stops, ends what still runs. Leaves out HTTP.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from trueformer.inference.engine.engine import QueueFull
from trueformer.inference.engine.request import Event
from trueformer.inference.reply import Piece, Reply
from trueformer.inference.server.asked import Asked
from trueformer.inference.server.errors import ApiError
from trueformer.inference.server.metrics import Metrics
from trueformer.inference.service import Service
from trueformer.tokenization.conversations import ToolCall

RETRY_SECONDS = 1  # told to those who find the queue full


class Generation:
    """The requests under way. `replies[i]` is what choice i has said so far.

    Raises:
        ApiError: the queue is full (429), or the engine has stopped (503); then none runs.
    """

    def __init__(self, service: Service, asked: Asked, metrics: Metrics) -> None:
        self._service, self._requests, self._metrics = service, asked.requests, metrics
        self.replies: list[Reply] = [service.reply(request, asked.stops) for request in asked.requests]
        self._left = set(range(len(asked.requests)))
        self._told: asyncio.Queue[tuple[int, list[Event]]] = asyncio.Queue()
        self._begun, self._first_seen, self._closed = time.perf_counter(), False, False
        try:
            loop = asyncio.get_running_loop()
            for i, request in enumerate(asked.requests):
                service.thread.start(request, self._teller(i, loop))
        except (ValueError, RuntimeError, QueueFull) as error:
            self._cancel()
            raise _refusal(error) from error
        metrics.prompt_tokens += asked.prompt_tokens

    def _teller(self, index: int, loop: asyncio.AbstractEventLoop) -> Callable[[list[Event]], None]:
        def tell(events: list[Event]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody listens any more
                loop.call_soon_threadsafe(self._told.put_nowait, (index, events))

        return tell

    @property
    def completion_tokens(self) -> int:
        """Tokens of all choices so far."""
        return sum(reply.n_tokens for reply in self.replies)

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """What can be shown of each choice, as it comes.

        Raises:
            ApiError: the model or the engine failed, or the server stops.
        """
        while self._left:
            index, events = await self._told.get()
            if not self._first_seen and any(event.token for event in events):
                self._first_seen = True
                self._metrics.first_token.add(time.perf_counter() - self._begun)
            for event in events:
                piece = self.replies[index].push(event)
                if piece is None:
                    continue
                self._note(index, piece)
                yield index, piece

    def _note(self, index: int, piece: Piece) -> None:
        if isinstance(piece.part, ToolCall):
            self._metrics.tool_calls += 1
        if piece.reason == "cancelled":
            raise ApiError(503, "the server is stopping: ask again once it runs")
        if piece.reason == "error":
            failure = self._service.thread.failure
            message = (
                f"the engine has stopped: {failure}" if failure else "the model's numbers are not finite"
            )
            raise ApiError(503 if failure else 500, message)
        if piece.reason is not None:
            self._left.discard(index)
            if self.replies[index].stopped:  # the engine knows nothing of stop strings
                self._service.thread.cancel(self._requests[index])

    def _cancel(self) -> None:
        for index in self._left:
            self._service.thread.cancel(self._requests[index])

    def close(self) -> None:
        """End what still runs, and count; once."""
        if self._closed:
            return
        self._closed = True
        self._cancel()
        self._metrics.cancelled += len(self._left)
        self._metrics.completion_tokens += self.completion_tokens

    def __enter__(self) -> "Generation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


def _refusal(error: Exception) -> ApiError:
    """What the client is told of a start that failed."""
    if isinstance(error, QueueFull):
        return ApiError(429, str(error), code="queue_full", headers={"Retry-After": str(RETRY_SECONDS)})
    return ApiError(400 if isinstance(error, ValueError) else 503, str(error))
