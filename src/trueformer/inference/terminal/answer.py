"""One reply: asked of the engine, shown as it comes, stopped by Ctrl-C, kept in the session.

Leaves out what the user types (`loop.py`).
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from queue import SimpleQueue
from time import perf_counter

from trueformer.inference.engine.request import Event, Reason, Request
from trueformer.inference.reply import Piece, Reply
from trueformer.inference.service import Service
from trueformer.inference.terminal.screen import Screen
from trueformer.inference.terminal.session import STOPPED, Session

ENDS: dict[Reason, str] = {"length": " · cut at max_tokens", "cancelled": " · stopped"}


def answer(session: Session, screen: Screen, request: Request) -> bool:
    """Have the request answered and keep the reply; whether all went well.

    Raises:
        RuntimeError: the engine has stopped.
    """
    service, reply = session.service, session.service.reply(request)
    times: list[float] = []
    reason: Reason | None = None
    for event in _events(service, request, stoppable=screen.interactive):
        times.append(perf_counter())
        piece = reply.push(event)
        if piece is not None:
            screen.reply(piece)
            reason = piece.reason
    assert reason is not None, "every request ends with a reason"
    if session.keep(reply.parts, stopped=reason == "cancelled"):
        screen.reply(Piece(text=STOPPED))
    problem = _problem(service, request, reply, reason)
    rate = max(0, reply.n_tokens - 1) / max(times[-1] - times[0], 1e-9)  # from the first token on
    used = f"context {len(request.prompt) + reply.n_tokens} of {service.context_length}"
    ended = "" if problem else ENDS.get(reason, "")
    screen.end_reply(f"{reply.n_tokens} tokens · {rate:.1f} a second · {used}{ended}", problem)
    return not problem


def _events(service: Service, request: Request, *, stoppable: bool) -> Iterator[Event]:
    """What happens to the request, to its end; Ctrl-C brings that about where `stoppable`."""
    inbox: SimpleQueue[list[Event]] = SimpleQueue()
    service.thread.start(request, inbox.put)
    with _on_interrupt(lambda: service.thread.cancel(request)) if stoppable else nullcontext():
        ended = False
        while not ended:
            events = inbox.get()
            ended = any(event.reason is not None for event in events)
            yield from events


@contextmanager
def _on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Within the block, Ctrl-C does this instead of ending what the program is at."""
    before = signal.signal(signal.SIGINT, lambda number, frame: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _problem(service: Service, request: Request, reply: Reply, reason: Reason) -> str:
    """What the user should know, and can do, of a reply that did not end well; empty for one that did."""
    room = service.context_length
    if reason == "context" or (reason == "length" and len(request.prompt) + request.max_new_tokens >= room):
        return (
            f"The context of {room} tokens is full, so the reply ends here: /reset begins anew, /undo takes "
            "back the last exchange."
        )
    if reason == "error" and service.thread.failure:
        return f"The engine has stopped: {service.thread.failure}"
    if reason == "error":
        return "The model gave numbers that are not finite, so the reply ends here: its weights are damaged."
    if reason == "tool_calls":
        return "The model asked for a tool and has none: leave out --tools, or name some."
    if reason == "stop" and not reply.parts:
        return "The model said nothing: /retry asks again."
    return ""
