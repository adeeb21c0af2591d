"""How an answer is sent: in one, or as server-sent events; in both cases only while somebody listens.

A client that goes away ends its request, whether it waits, is written to or reads. A time-out ends it with
504, or with an error as the last event of a stream that has begun. Leaves out what is sent (`answers.py`).
"""

import asyncio
import contextlib
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi.responses import Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from trueformer.inference.reply import Piece
from trueformer.inference.server.answers import Answers
from trueformer.inference.server.errors import ApiError
from trueformer.inference.server.generation import Generation

T = TypeVar("T")
LAST_WORDS_SECONDS = 1.0  # a client that reads nothing is not waited for


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is ended as soon as the client has gone; its body must have been read.

    Raises:
        ClientDisconnect: it went away.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def whole(
    receive: Receive, generation: Generation, answers: Answers, timeout: int | float
) -> dict[str, Any]:
    """The answer as one JSON object.

    Raises:
        ApiError: it took too long, or as `Generation.pieces`. ClientDisconnect: nobody waits for it.
    """

    async def collect() -> dict[str, Any]:
        pieces: list[list[Piece]] = [[] for _ in generation.replies]
        async for index, piece in generation.pieces():
            pieces[index].append(piece)
        return answers.whole(generation.replies, pieces, generation.completion_tokens)

    with generation:
        try:
            async with asyncio.timeout(timeout):
                return await while_connected(receive, collect())
        except TimeoutError as error:
            raise _too_late(timeout) from error


class EventStream(Response):
    """A response of server-sent events; it owns the generation, and ends it however it ends itself."""

    media_type = "text/event-stream"

    def __init__(
        self, generation: Generation, answers: Answers, timeout: int | float, *, usage: bool
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]  # nobody knows it yet
        self._generation, self._answers, self._timeout, self._usage = generation, answers, timeout, usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._generation, contextlib.suppress(ClientDisconnect):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                async with asyncio.timeout(self._timeout):
                    await while_connected(receive, self._send_all(send))
            except TimeoutError:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LAST_WORDS_SECONDS):
                        await _send_last(send, _event(_too_late(self._timeout).body))

    async def _send_all(self, send: Send) -> None:
        try:
            for chunk in self._answers.opening():
                await _send(send, _event(chunk))
            async for index, piece in self._generation.pieces():
                await _send(send, _event(self._answers.chunk(index, piece)))
        except ApiError as error:
            return await _send_last(send, _event(error.body))
        if self._usage:
            await _send(send, _event(self._answers.closing(self._generation.completion_tokens)))
        await _send_last(send, b"data: [DONE]\n\n")


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content, allow_nan=False)}\n\n".encode()


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await asyncio.sleep(0)  # several may be ready: that the client has gone is noticed in between


async def _send_last(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _too_late(timeout: int | float) -> ApiError:
    return ApiError(
        504, f"the answer took longer than {timeout:g} s: ask for fewer tokens, or serve with --timeout"
    )
