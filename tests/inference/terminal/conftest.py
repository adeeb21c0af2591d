"""A tiny model taught a few exchanges, in a run folder; and a pseudo-terminal to talk with it."""

import codecs
import fcntl
import io
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from trueformer.config import to_dict
from trueformer.data.config import DataConfig
from trueformer.inference.service import Service, ServiceConfig, open_service
from trueformer.inference.terminal.loop import converse
from trueformer.inference.terminal.session import Session
from trueformer.inference.terminal.settings import Settings
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.chat_format import TOOL_TOKENS, MarkedFormat
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, ToolCall, ToolResult, assistant, user
from trueformer.training.checkpoints import save_checkpoint
from trueformer.training.config import RunConfig
from trueformer.training.folders import checkpoint_path

CONTEXT = 96
TAUGHT = [
    Conversation.of(user("Hello"), assistant("Hi there!")),
    Conversation.of(user("6 * 7?"), assistant(ToolCall("calculator", "6*7"), ToolResult("42"), "It is 42.")),
    Conversation.of(user("Wait"), assistant("Hm. ", ToolCall("slow", "x"), ToolResult("done"), "Done.")),
    Conversation.of(user("Paint"), assistant("\x1b]0;title\x07\x1b[31mred\x9b2J!")),
]
SLOW = """
import time
from trueformer.inference.tools import Tool

TOOLS = [Tool(name="slow", about="Takes its time.", run=lambda text: time.sleep(3600) or "done")]
"""
# A new session has no terminal of its own until it takes one: Ctrl-C would reach nobody.
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def save(folder: Path, model: DecoderLM, tokenizer) -> Path:
    """A run folder with this model in it."""
    config = to_dict(RunConfig(model=model.config, data=DataConfig(seq_len=16)))
    tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}
    save_checkpoint(
        checkpoint_path(folder, 0),
        model_tensors=tensors,
        optimizer_tensors={},
        state={},
        config=config,
        tokenizer=tokenizer,
    )
    return folder


def make_model(tokenizer, *, init_std: float = 0.02) -> DecoderLM:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": tokenizer.vocab_size,
        "max_len": CONTEXT,
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 2,
    }
    return DecoderLM(DecoderConfig(**sizes, init_std=init_std))


def teach(model: DecoderLM, chat: MarkedFormat) -> None:
    """Train until each conversation is known by heart."""
    rows = [chat.render(conversation) for conversation in TAUGHT]
    length = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [0] * (length - len(row.ids)) for row in rows])
    trained = torch.tensor([row.trained + [False] * (length - len(row.ids)) for row in rows])
    targets = torch.where(trained[:, 1:], ids[:, 1:], -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(80):
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


@pytest.fixture(scope="session")
def base_tokenizer():
    return train_bpe(["Hello Hi there! It is 42. Wait Hm. Done. Paint title red"] * 2, 340)


@pytest.fixture(scope="session")
def taught(tmp_path_factory, base_tokenizer) -> Path:
    chat = MarkedFormat(base_tokenizer.extended([*OURS.tokens, *TOOL_TOKENS]), OURS)
    model = make_model(chat.tokenizer)
    teach(model, chat)
    return save(tmp_path_factory.mktemp("chat") / "run", model, chat.tokenizer)


@pytest.fixture(scope="session")
def untaught(tmp_path_factory, base_tokenizer) -> Path:
    """A model that knows no chat."""
    return save(tmp_path_factory.mktemp("text") / "run", make_model(base_tokenizer), base_tokenizer)


@pytest.fixture(scope="session")
def slow_tool(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tools") / "slow.py"
    path.write_text(SLOW)
    return path


@pytest.fixture(scope="session")
def service(taught) -> Iterator[Service]:
    with open_service(str(taught), ServiceConfig(n_slots=1, tools=("calculator",))) as service:
        yield service


@pytest.fixture
def session(service) -> Session:
    return Session(service, Settings(temperature=0.0))


@pytest.fixture(scope="session")
def chatty(tmp_path_factory, base_tokenizer) -> Iterator[Service]:
    """Random weights, large enough that no two logits are close: it knows no end, and no tools."""
    tokenizer = base_tokenizer.extended(OURS.tokens)
    run = save(tmp_path_factory.mktemp("chatty") / "run", make_model(tokenizer, init_std=0.4), tokenizer)
    with open_service(str(run), ServiceConfig(n_slots=1)) as service:
        yield service


@pytest.fixture
def pipe(monkeypatch, capsys) -> Callable[[Session, str], tuple[int, str, str]]:
    """Give a session these lines as a script does; its exit code, output and errors."""

    def talk(session: Session, lines: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        code = converse(session, about="unseen")
        return code, *capsys.readouterr()

    return talk


class Terminal:
    """`trueformer chat` with these arguments, as a person at a terminal has it."""

    def __init__(self, state: Path, *arguments: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x28\x00\x78\x00\x00\x00\x00\x00")
        chat = [sys.executable, "-m", "trueformer", "chat", *arguments]
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *chat],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "XDG_STATE_HOME": str(state), "TERM": "xterm-256color", **environment},
        )
        os.close(slave)
        self.output, self._read_to = "", 0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def wait_for(self, text: str, seconds: float = 300) -> str:
        """What is shown up to this text, from where the last wait ended."""
        end = time.monotonic() + seconds
        while text not in self.output[self._read_to :]:
            assert time.monotonic() < end, f"no {text!r} in {self.output[self._read_to :]!r}"
            assert self._pump() or text in self.output[self._read_to :], f"ended: {self.output!r}"
        start, self._read_to = self._read_to, self.output.index(text, self._read_to) + len(text)
        return self.output[start : self._read_to]

    def send(self, keys: str) -> None:
        """Press these keys, after a moment: a signal right behind the prompt is seen at the next key only."""
        time.sleep(0.2)
        os.write(self._master, keys.encode())

    def say(self, line: str) -> str:
        """Type a line at the prompt; what is shown up to the next prompt."""
        self.send(line + "\r")
        return self.wait_for("you › ")

    def end(self) -> int:
        """The exit code, once it has ended."""
        end = time.monotonic() + 300
        while self._pump():
            assert time.monotonic() < end, f"still runs: {self.output!r}"
        return self._process.wait(timeout=30)

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _pump(self) -> bool:
        """Take what there is; False once it has ended."""
        if not select.select([self._master], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux's end of a terminal
            return False
        self.output += self._decode(data)
        return bool(data)


@pytest.fixture
def terminal(tmp_path) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals, with a folder of their own for the history, and closes them."""
    opened: list[Terminal] = []

    def start(*arguments: str, **environment: str) -> Terminal:
        opened.append(Terminal(tmp_path / "state", *arguments, **environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
