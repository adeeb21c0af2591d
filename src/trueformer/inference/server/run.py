"""The server on a socket, until it is told to stop: SIGTERM and Ctrl-C let answers under way be finished.

    with open_service("smollm2", ServiceConfig()) as service, bind("127.0.0.1", 8000) as listening:
        app = create_app(service, "smollm2", ServerConfig())
        run(app, listening, end=service.thread.close, on_ready=…)

A second Ctrl-C ends it at once. Leaves out certificates: put a reverse proxy in front.
"""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

GRACE_SECONDS = 30.0
IDLE_SECONDS = 75  # clients (httpx: 5) and proxies (nginx: 60) close idle connections sooner


def bind(host: str, port: int) -> socket.socket:
    """A socket at that address, before anything large is loaded; port 0: any that is free.

    Raises:
        ValueError: it is in use, or not this machine's.
    """
    if not 0 <= port < 2**16:  # getaddrinfo would take the rest of a division
        raise ValueError(f"port is {port}: expected 1 to 65535, or 0 for any that is free")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ValueError(f"cannot serve at {host}, port {port}: {error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port {port} of {host} is in use: choose another with --port") from error
        raise ValueError(f"cannot serve at {host}, port {port}: {error}") from error
    return listening


class Server(uvicorn.Server):
    """uvicorn, which says when it is ready, and after `grace` seconds of stopping calls `end` for what still runs."""

    def __init__(
        self,
        app: FastAPI,
        *,
        end: Callable[[], object],
        on_ready: Callable[[], object] = lambda: None,
        grace: int | float = GRACE_SECONDS,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,  # warnings and errors still reach the terminal
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here asks where a request came from
                timeout_keep_alive=IDLE_SECONDS,  # a request into a connection that is just being closed is lost
                timeout_graceful_shutdown=int(grace) + 5,  # what has been ended takes a moment to say so
            )
        )
        self._end, self._on_ready, self._grace = end, on_ready, grace

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody any more, and let everybody finish, for a while."""
        ending = asyncio.create_task(self._end_all())
        await super().shutdown(sockets)
        ending.cancel()
        with suppress(asyncio.CancelledError):
            await ending

    async def _end_all(self) -> None:
        await asyncio.sleep(self._grace)
        await asyncio.to_thread(self._end)


def run(
    app: FastAPI,
    listening: socket.socket,
    *,
    end: Callable[[], object],
    on_ready: Callable[[], object],
    grace: int | float = GRACE_SECONDS,
) -> None:
    """Serve until a signal comes."""
    server = Server(app, end=end, on_ready=on_ready, grace=grace)
    with _signals_end_quietly():
        server.run(sockets=[listening])


@contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more when all is done: it has had its effect."""

    def nothing(signum: int, frame: FrameType | None) -> None: ...

    before = {number: signal.signal(number, nothing) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
