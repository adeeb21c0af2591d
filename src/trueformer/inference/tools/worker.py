"""The process in which tools run: one JSON object a line, requests on stdin and answers on stdout.

    python -m trueformer.inference.tools.worker calculator /home/me/stock.py

First it says which tools it has, or why not: {"tools": [{"name": …, "about": …}]} or {"error": …}. Then each
{"name": …, "input": …, "seconds": …} is answered by {"output": …}. It ends when stdin closes, so it never
outlives whoever started it by more than one call. Leaves out time-outs proper: whoever asks kills it
(`process.py`).

The limits here guard against mistakes, not malice: a tool is code that its user trusts, with that user's
rights.
"""

import importlib.util
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from trueformer.inference.tools.calculator import CALCULATOR
from trueformer.inference.tools.strings import STRINGS
from trueformer.inference.tools.tool import Tool, ToolError

LOADING_SECONDS = 30.0  # for the user's files to be run
MEMORY = 2**30  # bytes of address space
OUTPUT = 2000  # characters of an answer, a mark where it is cut included
CUT = " … [cut]"
BUILT_IN = {tool.name: tool for tool in (CALCULATOR, STRINGS)}


def main(sources: list[str]) -> None:
    """Load the tools, say which there are, then answer until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this process
    limit_resources()
    # Nobody may be left to kill this process; the kernel does, even inside a call that never returns.
    signal.setitimer(signal.ITIMER_REAL, LOADING_SECONDS)
    requests, answers = take_protocol()
    try:
        tools = load(sources)
    except ValueError as error:
        say(answers, {"error": str(error)})
        return
    said = [{"name": tool.name, "about": tool.about} for tool in tools.values()]
    say(answers, {"tools": said})
    signal.setitimer(signal.ITIMER_REAL, 0)
    for line in requests:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        output = answer(tools[request["name"]], request["input"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        say(answers, {"output": output})


def answer(tool: Tool, text: str) -> str:
    """What the tool makes of the text, whatever happens in it; bounded, and encodable as UTF-8."""
    try:
        output = tool.run(text)
        if not isinstance(output, str):
            output = f"error: the tool {tool.name} returned {type(output).__name__}: expected text"
    except ToolError as error:
        output = f"error: {error}"
    except Exception as error:  # noqa: BLE001 - the tool's author reads the traceback, the model the message
        traceback.print_exc()
        output = f"error: {type(error).__name__}: {error}".removesuffix(": ")
    if len(output) > OUTPUT:
        output = output[: OUTPUT - len(CUT)] + CUT
    return output.encode("utf-8", errors="replace").decode("utf-8")


def load(sources: list[str]) -> dict[str, Tool]:
    """The tools of built-in names and Python files, by their names.

    Raises:
        ValueError: an unknown name, a file that cannot be run or lists no tools, or two tools of one name.
    """
    tools: dict[str, Tool] = {}
    for source in sources:
        for tool in [BUILT_IN[source]] if source in BUILT_IN else from_file(source):
            if tool.name in tools:
                raise ValueError(f"two tools are called {tool.name!r}: expected each name once; rename one")
            tools[tool.name] = tool
    return tools


def from_file(source: str) -> list[Tool]:
    """The tools that a Python file lists under `TOOLS`; running the file is trusting it.

    Raises:
        ValueError: there is no such file, it cannot be run, or `TOOLS` is not a list of tools.
    """
    path = Path(source)
    if path.suffix != ".py":
        raise ValueError(
            f"there is no tool {source!r}: expected {', '.join(BUILT_IN)}, or the path of a .py file"
        )
    if not path.is_file():
        raise ValueError(f"there is no file {source}: expected a Python file with a list TOOLS")
    try:
        tools = getattr(_run_file(path), "TOOLS", None)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        raise ValueError(f"{source} cannot be run: {type(error).__name__}: {error}") from error
    if not isinstance(tools, list) or not tools or not all(isinstance(tool, Tool) for tool in tools):
        raise ValueError(f"{source} has no list of tools: expected TOOLS = [Tool(name=…, about=…, run=…)]")
    return tools


def _run_file(path: Path) -> ModuleType:
    """The module of a file, known by a name that no other module has, as dataclasses in it need."""
    name = f"tools of {path}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec, "a path that ends in .py has a loader"
    assert spec.loader, "a path that ends in .py has a loader"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def take_protocol() -> tuple[BinaryIO, BinaryIO]:
    """The streams of requests and answers, out of reach of tools that print, read or start programs."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, answers


def say(answers: BinaryIO, message: dict[str, Any]) -> None:
    """Write one line; characters beyond ASCII are escaped, so that lone surrogates pass."""
    answers.write(json.dumps(message).encode("ascii") + b"\n")
    answers.flush()


def limit_resources() -> None:
    """Bound memory, and leave no core dumps, where the system has such limits."""
    with suppress(ImportError):
        import resource

        for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
            hard = resource.getrlimit(kind)[1]
            limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
            with suppress(ValueError, OSError):  # macOS refuses to bound address space
                resource.setrlimit(kind, (limit, limit))


if __name__ == "__main__":
    main(sys.argv[1:])
