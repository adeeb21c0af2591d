"""A box of tools: text in, text out, always within a time, whatever the tools do.

    with ToolBox(["calculator", "strings", "my_tools.py"], timeout=5.0) as box:
        box.run("calculator", "48/2")  →  "24"
        box.run("calculator", "1/0")   →  "error: division by zero"

Tools run in at most two worker processes, so that a slow one does not keep a quick one waiting. A worker that
crashes or takes too long is killed with all it started, and the next call gets a new one. How a file of one's
own tools looks stands in `tool.py`. Leaves out how a model says that it calls a tool
(`tokenization/conversations.py`).
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from trueformer.inference.tools.process import Worker, WorkerError

WORKERS = 2
INPUT = 4000  # characters of an input; escaped, they still fit a pipe at once, so that asking never waits
LONGEST = 3600.0  # seconds
CLOSED = "the tools are closed"


class ToolBox:
    """Runs tools by name, for any number of threads; use it in a `with` block, or `close` it.

    `tools`: built-in names, and Python files of one's own, which are run as any program: only those one
    trusts. `timeout`: seconds of one call, waiting for a free worker not counted.

    Raises:
        ValueError: an unknown tool, a file without tools or that cannot be run, or a time-out out of range.
    """

    def __init__(
        self, tools: Sequence[str | Path] = ("calculator", "strings"), *, timeout: int | float = 5.0
    ) -> None:
        if not 0 < timeout <= LONGEST:
            raise ValueError(f"timeout is {timeout}: expected seconds above 0, at most {LONGEST:g}")
        if not tools:
            raise ValueError("there are no tools: expected at least one, such as calculator")
        self._sources = [str(Path(tool).resolve() if Path(tool).suffix == ".py" else tool) for tool in tools]
        self._timeout, self._closed, self._lock = timeout, False, threading.Lock()
        self._workers: set[Worker] = set()
        try:
            worker, self._tools = self._start_worker()
        except WorkerError as error:
            raise ValueError(f"the tools {', '.join(self._sources)} cannot be loaded: {error}") from None
        self._idle = [worker]
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="tools")

    @property
    def names(self) -> list[str]:
        """The names of the tools, in the order given."""
        return list(self._tools)

    def about(self, name: str) -> str:
        """What a tool is for, in a sentence.

        Raises:
            ValueError: there is no such tool.
        """
        if name not in self._tools:
            raise ValueError(self._no_tool(name))
        return self._tools[name]

    def run(self, name: str, input: str) -> str:
        """What the tool makes of the text, or "error: …" for the model to read; waits for it."""
        return self.start(name, input).result()

    def start(self, name: str, input: str) -> Future[str]:
        """What `run` returns, later; cancelling takes back a call that still waits for a worker."""
        if name not in self._tools:
            return _done(f"error: {self._no_tool(name)}")
        if len(input) > INPUT:
            return _done(f"error: the input has {len(input)} characters: expected at most {INPUT}")
        try:
            return self._pool.submit(self._call, name, input)
        except RuntimeError:  # the pool's, once it is shut down
            return _done(f"error: {CLOSED}")

    def close(self) -> None:
        """End all workers, calls or none; what still runs or waits is answered by an error."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
        self._pool.shutdown(wait=True)
        for worker in list(self._workers):
            self._drop(worker)

    def __enter__(self) -> "ToolBox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, name: str, text: str) -> str:
        """One call from beginning to end, in a thread of the pool."""
        worker = None
        try:
            worker = self._take_worker()
            output = worker.ask(name, text, self._timeout)
        except (WorkerError, ValueError, OSError) as error:
            if worker is not None:
                self._drop(worker)
            return f"error: {error}"
        with self._lock:
            self._idle.append(worker)
        return output

    def _take_worker(self) -> Worker:
        """An idle worker, or else a new one: there are never more than threads in the pool."""
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                break
            if worker.ready():
                return worker
            self._drop(worker)  # it ended while nobody asked it anything
        worker, tools = self._start_worker()
        if tools != self._tools:
            self._drop(worker)
            raise WorkerError("the files of the tools have changed: the program must be started anew")
        return worker

    def _start_worker(self) -> tuple[Worker, dict[str, str]]:
        """A new worker and what its tools are for; errors as `Worker.tools` has them."""
        with self._lock:
            if self._closed:
                raise WorkerError(CLOSED)
            worker = Worker(self._sources)
            self._workers.add(worker)
        try:
            return worker, worker.tools()
        except BaseException:
            self._drop(worker)
            raise

    def _drop(self, worker: Worker) -> None:
        """End a worker for good."""
        worker.end()
        with self._lock:
            self._workers.discard(worker)

    def _no_tool(self, name: str) -> str:
        return f"there is no tool {name[:80]!r}: expected one of {', '.join(self._tools)}"


def _done(text: str) -> Future[str]:
    """A call that is already answered."""
    future: Future[str] = Future()
    future.set_result(text)
    return future
