"""The engine in a thread of its own, for any number of others to ask: a server's, or a terminal's.

    with EngineThread(engine) as asking:
        asking.start(request, on_events=lambda events: …)    # called in the engine's thread, once a step
        asking.cancel(request)

Leaves out asyncio: `on_events` may hand events over with `loop.call_soon_threadsafe`.
"""

import threading
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from types import TracebackType

from trueformer.inference.engine.engine import Engine, QueueFull
from trueformer.inference.engine.request import Event, Request

OnEvents = Callable[[list[Event]], None]
TOOL_SECONDS = 0.01  # how often tools are looked after while nothing else is to be done


class EngineThread:
    """Runs `engine` until it is closed. Every request started ends with an event that has a reason."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.failure: str | None = None  # why it runs no more, where it was not closed
        self._on_events: dict[Request, OnEvents] = {}
        self._commands: deque[Callable[[], list[Event]]] = deque()
        self._n_asked = 0  # requests handed over and not yet with the engine
        self._condition = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def start(self, request: Request, on_events: OnEvents) -> None:
        """Submit a request; `on_events` gets what happens to it, a list a step.

        Raises:
            ValueError: as `Engine.check`. QueueFull: too many wait. RuntimeError: the engine has stopped.
        """
        self.engine.check(request)
        with self._condition:
            if self._closed or self.failure:
                raise RuntimeError(f"the engine has stopped: {self.failure or 'it was closed'}")
            # Counted here and not in the engine, which meanwhile moves requests from its queue to its slots.
            if len(self._on_events) >= self.engine.max_queue + self.engine.n_slots:
                raise QueueFull(f"{self.n_waiting} requests wait already, as many as may: try again later")
            self._on_events[request] = on_events
            self._n_asked += 1
            self._commands.append(lambda: self._submit(request))
            self._condition.notify()

    def cancel(self, request: Request) -> None:
        """End a request before the next step; nothing if it has ended."""
        with self._condition:
            self._commands.append(lambda: self.engine.cancel(request))
            self._condition.notify()

    @property
    def n_waiting(self) -> int:
        """Requests that wait for a slot."""
        return self.engine.n_waiting + self._n_asked

    def close(self) -> None:
        """End all requests as cancelled, and the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def __enter__(self) -> "EngineThread":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self, request: Request) -> list[Event]:
        with self._condition:
            self._n_asked -= 1
        self.engine.submit(request)
        return []

    def _run(self) -> None:
        try:
            while not self._closed:
                self._wait()
                events = [event for command in self._take_commands() for event in command()]
                if not self.engine.idle:
                    events += self.engine.step()
                self._deliver(events)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            traceback.print_exc()
            self.failure = f"{type(error).__name__}: {error}"
        with self._condition:
            left = list(self._on_events)
            self._closed = True
        self._deliver([Event(request, reason="error" if self.failure else "cancelled") for request in left])

    def _wait(self) -> None:
        """Until there is something to do."""
        with self._condition:
            while self.engine.idle and not self._commands and not self._closed:
                self._condition.wait()
            if self.engine.stalled and not self._commands and not self.engine.idle:
                self._condition.wait(TOOL_SECONDS)

    def _take_commands(self) -> Sequence[Callable[[], list[Event]]]:
        with self._condition:
            commands = list(self._commands)
            self._commands.clear()
        return commands

    def _deliver(self, events: Sequence[Event]) -> None:
        by_request: dict[Request, list[Event]] = defaultdict(list)
        for event in events:
            by_request[event.request].append(event)
        for request, theirs in by_request.items():
            ended = any(event.reason is not None for event in theirs)
            on_events = self._on_events.pop(request, None) if ended else self._on_events.get(request)
            if on_events is not None:
                on_events(theirs)
