"""Real tools in real processes, slow, greedy, noisy and crashing ones; nothing is left behind by any."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import trueformer
from trueformer.inference.tools import ToolBox, process, tool, worker
from trueformer.inference.tools.box import CLOSED, INPUT, WORKERS

TOOLS = """
import os, subprocess, sys, time
from trueformer.inference.tools import Tool, ToolError

print("a file may print while it is loaded")

def forever(path):
    if path:
        with open(path, "w") as file:
            file.write(str(os.getpid()))
    while True:
        pass

def forever_in_c(text):
    return str(9**9**9)  # holds the interpreter's lock: no signal handler, no thread runs

def child_forever(path):
    child = subprocess.Popen(["sleep", "1000"])
    with open(path, "w") as file:
        file.write(str(child.pid))
    child.wait()

def greedy(text):
    return str(len(bytearray(4 * 2**30)))

def ends(text):
    os._exit(3)

def leaves(text):
    sys.exit("bye")

def noisy(text):
    print('{"output": "printed"}')  # not flushed: seen although the process is killed later
    os.write(1, b'{"output": "written"}\\n')
    subprocess.run(["echo", '{"output": "echoed"}'])
    return "returned"

def reads(text):
    return repr(sys.stdin.read())

def wrong(text):
    return len(text)

def refuses(text):
    raise ToolError(f"{text} is not for sale")

def fails(text):
    return {}[text]

def sleeps(text):
    time.sleep(float(text))
    return "slept"

SLOW = [forever, forever_in_c, child_forever, sleeps]
ODD = [greedy, ends, leaves, noisy, reads, wrong, refuses, fails]
TOOLS = [Tool(name=run.__name__, about="", run=run) for run in SLOW + ODD] + [
    Tool(name="pid", about="", run=lambda text: str(os.getpid())),
    Tool(name="echo", about="", run=lambda text: text),
    Tool(name="many", about="", run=lambda text: text * 10_000),
    Tool(name="half", about="", run=lambda text: "\\ud83d and " + ascii(text)),
]
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tools") / "mine.py"
    path.write_text(TOOLS)
    return path


@pytest.fixture
def box(file: Path) -> Iterator[ToolBox]:
    with ToolBox(["calculator", file], timeout=20) as box:
        yield box


@pytest.fixture
def hasty(file: Path) -> Iterator[ToolBox]:
    with ToolBox([file], timeout=0.5) as box:
        yield box


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, with the package still where it was found."""
    monkeypatch.setenv("PYTHONPATH", str(Path(trueformer.__file__).resolve().parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def running(pid: str | int) -> bool:
    """Whether a process is there and no zombie: an orphan's is for somebody else to collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition: Callable[[], object], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_built_in_tools_answer_and_errors_are_text_for_the_model() -> None:
    with ToolBox(["calculator", "strings"]) as box:
        assert box.names == ["calculator", "strings"]
        assert "arithmetic" in box.about("calculator")
        assert box.run("calculator", "48/2") == "24"
        assert box.run("strings", "count r strawberry") == "3"
        assert box.run("calculator", "1/0") == "error: division by zero"
        assert box.run("calculator", "9**9**9").startswith("error: a number on the way has more than")
        assert (
            box.run("search", "x") == "error: there is no tool 'search': expected one of calculator, strings"
        )
        assert len(box.run("x" * 10_000, "")) < 200
        with pytest.raises(ValueError, match="no tool 'search': expected one of"):
            box.about("search")


def test_the_documented_example_of_ones_own_tool_works(elsewhere: Path) -> None:
    lines = str(tool.__doc__).splitlines()
    code = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ") or not line))
    (elsewhere / "stock.py").write_text(code)
    with ToolBox(["calculator", "stock.py"]) as box:
        assert box.names == ["calculator", "stock"]
        assert box.about("stock") == "How many of an item are left, e.g. apples."
        assert box.run("stock", "apples") == "3"
        assert box.run("stock", "plums") == "error: 'plums' is not sold: expected one of apples, pears"
        assert box.run("calculator", "3-0") == "3"


@pytest.mark.parametrize("name", ["forever", "forever_in_c", "sleeps"])
def test_a_tool_that_takes_too_long_is_stopped_and_the_next_call_works(hasty: ToolBox, name: str) -> None:
    pid, start = hasty.run("pid", ""), time.monotonic()
    answer = hasty.run(name, "1000" if name == "sleeps" else "")
    assert answer == "error: the tool was stopped: it took longer than 0.5 seconds"
    assert 0.4 < time.monotonic() - start < 10
    assert not Path(f"/proc/{pid}").exists(), "killed, and not left as a zombie"
    assert hasty.run("echo", "next") == "next"
    assert hasty.run("pid", "") != pid


def test_what_a_stopped_tool_started_is_stopped_too(hasty: ToolBox, tmp_path: Path) -> None:
    assert "stopped" in hasty.run("child_forever", str(tmp_path / "pid"))
    child = (tmp_path / "pid").read_text()
    assert child
    assert eventually(lambda: not running(child))


@pytest.mark.parametrize(
    ("name", "input", "expected"),
    [
        ("greedy", "", "error: MemoryError"),
        ("ends", "", "error: the tool's process ended without an answer"),
        ("leaves", "", "error: the tool's process ended without an answer"),
        ("noisy", "", "returned"),
        ("reads", "", "''"),
        ("wrong", "abc", "error: the tool wrong returned int: expected text"),
        ("refuses", "the bear", "error: the bear is not for sale"),
        ("fails", "abc", "error: KeyError: 'abc'"),
        ("echo", 'Ω 😀 \x00 \n\r\u2028 "{}"', 'Ω 😀 \x00 \n\r\u2028 "{}"'),
        ("echo", "", ""),
        ("half", "\udcff", r"? and '\udcff'"),
        ("many", "ab", "ab" * 996 + " … [cut]"),
        ("echo", "😀" * 2000, "😀" * 2000),
        ("echo", "x" * (INPUT + 1), f"error: the input has {INPUT + 1} characters: expected at most {INPUT}"),
    ],
)
def test_whatever_a_tool_does_its_answer_is_text_and_the_next_call_works(
    box: ToolBox, name: str, input: str, expected: str
) -> None:
    assert box.run(name, input) == expected
    assert box.run("echo", "next") == "next"
    assert box.run("calculator", "6*7") == "42"


def test_outputs_are_cut_to_the_bound() -> None:
    assert len("ab" * 996 + worker.CUT) == worker.OUTPUT


def test_the_author_of_a_failing_tool_reads_where_and_what_it_prints(file: Path) -> None:
    program = f"from trueformer.inference.tools import ToolBox\nwith ToolBox([{str(file)!r}]) as box:\n"
    program += "    box.run('fails', 'abc'); box.run('noisy', ''); box.run('refuses', 'x')"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=buffered
    )
    assert "return {}[text]" in done.stderr
    assert all(word in done.stderr for word in ("while it is loaded", "printed", "written", "echoed"))
    assert "not for sale" not in done.stderr
    assert done.stdout == ""


def test_a_slow_tool_does_not_keep_a_quick_one_waiting(box: ToolBox) -> None:
    slow = box.start("forever", "")
    assert box.run("echo", "quick") == "quick"
    assert not slow.done()


def test_a_call_that_waits_can_be_taken_back(box: ToolBox) -> None:
    slow = [box.start("forever", "") for _ in range(WORKERS)]
    waiting = box.start("echo", "")
    assert waiting.cancel()
    box.close()
    assert [future.result() for future in slow] == [
        "error: the tool's process ended without an answer"
    ] * WORKERS


def test_many_calls_from_many_threads_are_each_ones_own_and_leave_two_workers(box: ToolBox) -> None:
    answers: dict[str, str] = {}
    pids: set[str] = set()

    def ask(thread: int) -> None:
        for i in range(25):
            text = f"{thread}.{i}"
            answers[text] = box.run("echo", text)
            pids.add(box.run("pid", ""))

    ask(0)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one number
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {text: text for text in answers}
    assert len(answers) == 200
    assert 1 <= len(pids) <= WORKERS
    pipes = 2 * (len(pids) - 1)
    assert len(os.listdir("/proc/self/fd")) <= before + pipes  # noqa: PTH208 - one number


def test_workers_that_crash_again_and_again_leave_no_files_open_and_no_process(box: ToolBox) -> None:
    box.run("ends", "")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one number
    pids = []
    for _ in range(10):
        pids.append(box.run("pid", ""))
        box.run("ends", "")
    assert len(set(pids)) == 10
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - one number
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_worker_killed_between_calls_costs_no_answer(box: ToolBox) -> None:
    pid = box.run("pid", "")
    os.kill(int(pid), signal.SIGKILL)
    assert eventually(lambda: not running(pid))
    assert box.run("echo", "still here") == "still here"


def test_ctrl_c_is_not_for_the_worker(box: ToolBox) -> None:
    pid = box.run("pid", "")
    os.kill(int(pid), signal.SIGINT)
    assert box.run("pid", "") == pid
    assert os.getsid(int(pid)) != os.getsid(0), "nor does the terminal send it"


def test_closing_ends_idle_and_busy_workers_at_once_and_answers_say_so(file: Path, tmp_path: Path) -> None:
    with ToolBox([file], timeout=600) as box:
        busy = box.start("forever", str(tmp_path / "pid"))
        assert eventually(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
        pids = [(tmp_path / "pid").read_text(), box.run("pid", "")]
        assert pids[0] != pids[1]
        assert all(map(running, pids))
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert busy.result().startswith("error: ")
    assert box.run("echo", "x") == f"error: {CLOSED}"
    assert box.start("echo", "x").result() == f"error: {CLOSED}"
    box.close()


def test_a_call_that_waits_while_the_box_is_closed_gets_an_answer(file: Path) -> None:
    answers: list[str] = []
    with ToolBox([file], timeout=600) as box:
        slow = [box.start("forever", "") for _ in range(WORKERS)]
        waiting = threading.Thread(target=lambda: answers.append(box.run("echo", "")))
        waiting.start()
        time.sleep(0.1)
    waiting.join()
    assert answers == [f"error: {CLOSED}"]
    assert all(future.result().startswith("error: ") for future in slow)


@pytest.mark.parametrize("call", ["echo", "forever", "forever_in_c"])
def test_a_killed_parent_leaves_no_worker(file: Path, call: str) -> None:
    program = f"from trueformer.inference.tools import ToolBox\nbox = ToolBox([{str(file)!r}], timeout=1.0)\n"
    program += (
        f"print(box.run('pid', ''), flush=True)\nbox.start({call!r}, '')\nprint('started', flush=True)\n"
    )
    program += "import time; time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = parent.stdout.readline().strip()
        assert parent.stdout.readline() == "started\n"
        assert running(pid)
        parent.kill()
    assert eventually(lambda: not running(pid))


MINE = "from trueformer.inference.tools import Tool\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def", "cannot be run: SyntaxError"),
        ("1/0", "cannot be run: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(4)", "cannot be run: SystemExit: 4"),
        ("import os; os._exit(0)", "cannot be loaded: the tool's process ended without an answer"),
        ("", r"no list of tools: expected TOOLS = \[Tool\("),
        ("TOOLS = []", "no list of tools"),
        ("TOOLS = 5", "no list of tools"),
        ("TOOLS = [len]", "no list of tools"),
        (MINE + "TOOLS = [Tool(name='a b', about='', run=str)]", "without white space"),
        (MINE + "TOOLS = [Tool(name='a', about='', run=str)] * 2", "two tools are called 'a'"),
        (MINE + "TOOLS = [Tool(name='calculator', about='', run=str)]", "two tools are called 'calculator'"),
        (MINE + "TOOLS = [Tool(name='a', about='x' * 2**21, run=str)]", "said more than 1048576 bytes"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(tmp_path: Path, code: str, reason: str) -> None:
    (tmp_path / "bad.py").write_text(code)
    with pytest.raises(ValueError, match=reason):
        ToolBox(["calculator", tmp_path / "bad.py"])


def test_a_file_that_loads_forever_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.py").write_text("while True: pass")
    monkeypatch.setattr(process, "LOADING_SECONDS", 0.5)
    with pytest.raises(ValueError, match=r"it took longer than 0\.5 seconds"):
        ToolBox([tmp_path / "bad.py"])


def test_wrong_names_and_times_are_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="no tool 'calculater': expected calculator, strings, or the path"):
        ToolBox(["calculater"])
    with pytest.raises(ValueError, match=r"there is no file .*missing\.py: expected a Python file"):
        ToolBox(["missing.py"])
    with pytest.raises(ValueError, match="two tools are called 'strings'"):
        ToolBox(["strings", "strings"])
    with pytest.raises(ValueError, match="expected at least one"):
        ToolBox([])
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected seconds above 0"):
            ToolBox(timeout=timeout)


def test_a_file_that_changes_under_way_is_noticed_when_it_is_read_again(tmp_path: Path) -> None:
    code = MINE + "import os\nTOOLS = [Tool(name='ends', about='', run=lambda text: os._exit(1))]"
    (tmp_path / "mine.py").write_text(code)
    with ToolBox([tmp_path / "mine.py"]) as box:
        (tmp_path / "mine.py").write_text(code.replace("'ends'", "'other'"))
        assert "ended" in box.run("ends", "")
        assert box.run("ends", "").startswith("error: the files of the tools have changed")
        (tmp_path / "mine.py").unlink()
        assert box.run("ends", "").startswith("error: there is no file")


def test_files_of_the_current_folder_do_not_become_the_library(elsewhere: Path) -> None:
    (elsewhere / "json.py").write_text("raise SystemExit('not this one')")
    with ToolBox(["calculator"]) as box:
        assert box.run("calculator", "1+1") == "2"
