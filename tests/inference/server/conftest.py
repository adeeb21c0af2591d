"""Real servers: uvicorn on a free port of this machine, in a thread, over tiny models; some stay up."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import httpx
import openai
import pytest
import torch

from trueformer.inference.server.app import create_app
from trueformer.inference.server.limits import ServerConfig
from trueformer.inference.server.run import Server, bind
from trueformer.inference.service import Service, ServiceConfig
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.models.loaded import LoadedModel
from trueformer.tokenization.bpe import train_bpe
from trueformer.tokenization.chat_format import TOOL_TOKENS, MarkedFormat
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, ToolCall, ToolResult, assistant, user

NAME = "tiny"
CLIENTS: list[openai.OpenAI] = []
ASKED = Conversation.of(user("What is 6 * 7?"))
ANSWERED = Conversation.of(
    *ASKED.messages, assistant(ToolCall("calculator", "6*7"), ToolResult("42"), "It is 42.")
)


@pytest.fixture
def run_async() -> Callable[[Coroutine], object]:
    """`asyncio.run` in a thread of its own: Playwright leaves a loop running in this one."""

    def run(work: Coroutine) -> object:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, work).result()

    return run


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """A server that runs, and its inside."""

    url: str
    service: Service
    name: str = NAME

    @property
    def client(self) -> openai.OpenAI:
        """OpenAI's own client, which tries everything once; closed after the test."""
        CLIENTS.append(openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0))
        return CLIENTS[-1]

    def metrics(self) -> dict[str, float]:
        """Every sample by its name and labels."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return {
            name: float(value)
            for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        }


def tokenizer_of_chat() -> MarkedFormat:
    """A small tokenizer with all marks."""
    return MarkedFormat(
        train_bpe(["What is 6 * 7? It is 42."], 280).extended([*OURS.tokens, *TOOL_TOKENS]), OURS
    )


def loaded(model: DecoderLM, chat: MarkedFormat) -> LoadedModel:
    """The model as `load_model` would give it."""
    return LoadedModel(model=model.eval(), tokenizer=chat.tokenizer, config=model.config, source="a test")


def endless_model(chat: MarkedFormat) -> LoadedModel:
    """Random, with no two logits close; where the likeliest is taken it never ends and calls nothing."""
    torch.manual_seed(1)
    shape = {"vocab_size": chat.tokenizer.vocab_size, "max_len": 8192, "d_model": 32, "n_layers": 2}
    model = DecoderLM(DecoderConfig(**shape, n_heads=4, n_kv_heads=2, init_std=0.4))
    with torch.no_grad():
        model.embedding.weight[list(chat.tokenizer.special_ids.values())] *= 0.01
    return loaded(model, chat)


def tool_model(chat: MarkedFormat) -> LoadedModel:
    """Trained until it answers `ASKED` with the calculator and says what came out."""
    torch.manual_seed(0)
    shape = {"vocab_size": chat.tokenizer.vocab_size, "max_len": 256, "d_model": 64}
    model = DecoderLM(DecoderConfig(**shape, n_layers=2, n_heads=2))
    rendered = chat.render(ANSWERED)
    ids, trained = torch.tensor([rendered.ids]), torch.tensor(rendered.trained)
    targets = torch.where(trained[1:], ids[0, 1:], -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(80):
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1])[0], targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    return loaded(model, chat)


@contextmanager
def serving(
    model: LoadedModel, service: ServiceConfig, server: ServerConfig, grace: float = 5.0
) -> Iterator[Serving]:
    """A server of this model, until the block ends."""
    ready = threading.Event()
    with bind("127.0.0.1", 0) as listening, Service(model, service) as inside:
        app = create_app(inside, NAME, server)
        running = Server(app, end=inside.thread.close, on_ready=ready.set, grace=grace)
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            assert ready.wait(20)
            yield Serving(url=f"http://127.0.0.1:{listening.getsockname()[1]}", service=inside)
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture(autouse=True)
def close_clients() -> Iterator[None]:
    """A stream that broke off leaves its connection open, for some later test to be warned of."""
    yield
    while CLIENTS:
        CLIENTS.pop().close()


@pytest.fixture(scope="session")
def chat() -> MarkedFormat:
    return tokenizer_of_chat()


@pytest.fixture(scope="session")
def endless(chat: MarkedFormat) -> LoadedModel:
    return endless_model(chat)


@pytest.fixture(scope="session")
def server(endless: LoadedModel) -> Iterator[Serving]:
    """Four slots, a random model that knows of tools, and no key."""
    config = ServiceConfig(n_slots=4, slot_len=8192)
    with serving(endless, config, ServerConfig(max_body=100_000)) as running:
        yield running


@pytest.fixture(scope="session")
def server_url(server: Serving) -> str:
    """Where `server` is; the page's tests begin here."""
    return server.url


@pytest.fixture(scope="session")
def taught(chat: MarkedFormat) -> LoadedModel:
    return tool_model(chat)


@pytest.fixture(scope="session")
def tool_server(taught: LoadedModel) -> Iterator[Serving]:
    """A model that was taught one conversation, in which it calls the calculator."""
    with serving(taught, ServiceConfig(n_slots=2, slot_len=256), ServerConfig()) as running:
        yield running


@pytest.fixture(scope="session")
def toolless_server(taught: LoadedModel) -> Iterator[Serving]:
    """The same model where the server runs no tools."""
    config = ServiceConfig(n_slots=2, slot_len=256, tools=())
    with serving(taught, config, ServerConfig()) as running:
        yield running


@pytest.fixture(scope="session")
def serve(endless: LoadedModel) -> Callable[..., AbstractContextManager[Serving]]:
    """Starts a server of the random model with other limits."""

    def start(
        *, n_slots: int = 2, max_queue: int = 8, grace: float = 5.0, **limits: object
    ) -> AbstractContextManager[Serving]:
        config = ServiceConfig(n_slots=n_slots, slot_len=8192, max_queue=max_queue, tools=())
        return serving(endless, config, ServerConfig(**limits), grace)

    return start
