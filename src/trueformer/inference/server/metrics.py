"""Counts of what the server did, as Prometheus reads them at /metrics (text format 0.0.4).

All are written in the event loop's thread. Leaves out names of users, prompts and anything else said.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from trueformer.inference.service import Service

FIRST_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
REQUEST_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600)


class Histogram:
    """How many values were at most each bound."""

    def __init__(self, bounds: Sequence[int | float]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._sum += value
        self._counts[sum(value > bound for bound in self._bounds)] += 1

    def lines(self, name: str) -> Iterator[str]:
        """The samples under this name."""
        total = 0
        for bound, count in zip([*self._bounds, "+Inf"], self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """What has been counted since the server began."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # by route and status
        self.prompt_tokens = self.completion_tokens = self.cancelled = self.tool_calls = 0
        self.first_token = Histogram(FIRST_TOKEN_SECONDS)
        self.duration = Histogram(REQUEST_SECONDS)

    def text(self, service: Service) -> str:
        """All of it, and how full the engine is now."""
        lines: list[str] = []

        def add(name: str, kind: str, about: str, samples: Sequence[str]) -> None:
            lines.extend([f"# HELP trueformer_{name} {about}", f"# TYPE trueformer_{name} {kind}", *samples])

        def one(name: str, kind: str, about: str, value: int) -> None:
            add(name, kind, about, [f"trueformer_{name} {value}"])

        requests = [
            f'trueformer_requests_total{{route="{route}",status="{status}"}} {count}'
            for (route, status), count in sorted(self.requests.items())
        ]
        add(
            "requests_total", "counter", "HTTP requests answered; status 499: the client went away.", requests
        )
        one("prompt_tokens_total", "counter", "Tokens of prompts.", self.prompt_tokens)
        one("completion_tokens_total", "counter", "Tokens written.", self.completion_tokens)
        one("cancelled_total", "counter", "Choices ended before they were complete.", self.cancelled)
        one("tool_calls_total", "counter", "Calls of tools.", self.tool_calls)
        one("slots", "gauge", "Choices that can be under way at once.", service.engine.n_slots)
        one("running", "gauge", "Choices under way.", service.engine.n_running)
        one("waiting", "gauge", "Choices that wait for a slot.", service.thread.n_waiting)
        for name, about, histogram in (
            ("first_token_seconds", "From a request to its first token.", self.first_token),
            ("request_seconds", "From a request to the end of its answer.", self.duration),
        ):
            add(name, "histogram", about, list(histogram.lines(f"trueformer_{name}")))
        return "\n".join(lines) + "\n"
