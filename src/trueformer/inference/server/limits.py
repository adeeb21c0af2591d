"""Who may ask, and how much: the key, the page's own origin, the size of a body, the headers of every answer.

With a key, whoever has it may ask, from anywhere; without one, only those whom `own_page.py` lets in. Leaves out
queues (`engine/thread.py`) and time-outs (`stream.py`).
"""

import asyncio
import hmac
import re
import time
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trueformer.inference.server.errors import CLIENT_IS_GONE, ApiError
from trueformer.inference.server.metrics import Metrics
from trueformer.inference.server.own_page import put_headers, refuse_strangers

OPEN = ("/", "/health")  # without a key: the page asks for it, and health says nothing of anyone
BODY_SECONDS = 60.0
# Few clients read an answer before they have sent all: so much more is taken and thrown away for their sake.
LONGEST_DISCARDED = 2**24  # bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """What is allowed.

    Raises:
        ValueError: a limit that lets nothing through, or an empty key.
    """

    api_key: str | None = None
    loopback: bool = True  # bound to this machine only: then it has no other names
    timeout: int | float = 600.0  # seconds of one answer
    max_body: int = 2**21  # bytes

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout is {self.timeout}: expected seconds above 0")
        if self.max_body < 1:
            raise ValueError(f"max_body is {self.max_body}: expected at least 1 byte")
        if self.api_key is not None and not re.fullmatch(r"[!-~]+", self.api_key):
            raise ValueError(
                "the API key is empty or holds characters that no header can: expected ASCII text"
            )


class Guard:
    """ASGI middleware: refuses whom it must, counts every answer, and puts the headers on it."""

    def __init__(self, app: ASGIApp, config: ServerConfig, metrics: Metrics) -> None:
        self._app, self._config, self._metrics = app, config, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status, begun = CLIENT_IS_GONE, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                put_headers(message)
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, noting)
        except ApiError as error:
            await error.response(scope, receive, noting)
        except Exception:
            status = 500
            raise
        finally:
            # Whatever else is asked for has one name, or strangers would choose how many are kept.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests[route, status] += 1
            self._metrics.duration.add(time.perf_counter() - begun)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._config.api_key is not None:
            return self._check_key(scope["path"], headers.get("authorization", ""))
        refuse_strangers(headers, loopback=self._config.loopback, otherwise=", or a server with an API key")

    def _check_key(self, path: str, given: str) -> None:
        if path in OPEN:
            return
        key = f"Bearer {self._config.api_key}"
        if not hmac.compare_digest(given.encode(), key.encode()):
            raise ApiError(
                401,
                "the API key is missing or wrong: expected the header Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


async def read_body(request: Request, most: int) -> bytes:
    """The body, of at most so many bytes; of a larger one nothing more is kept.

    Raises:
        ApiError: it is larger (413), or does not come (408). ClientDisconnect: the client went away.
    """
    size = int(request.headers.get("content-length", 0))
    if size > LONGEST_DISCARDED:
        raise _too_long(size, most, unread=True)
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > LONGEST_DISCARDED:
                    raise _too_long(size, most, unread=True)
                body += chunk if size <= most else b""
    except TimeoutError as error:
        raise ApiError(408, f"the body did not come within {BODY_SECONDS:g} s: send it at once") from error
    if size > most:
        raise _too_long(size, most, unread=False)
    return bytes(body)


def _too_long(size: int, most: int, *, unread: bool) -> ApiError:
    return ApiError(
        413,
        f"the body has {size} bytes or more: expected at most {most}; send fewer or shorter messages",
        headers={"Connection": "close"} if unread else None,  # or the server would read the rest
    )
