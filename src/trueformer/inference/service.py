"""A model ready to converse: loaded, with its chat format, its tools, and an engine in a thread of its own.

    with open_service("smollm2", ServiceConfig()) as service:
        service.thread.start(service.chat_request(conversation, …), on_events)

What `trueformer serve`, `trueformer chat` and the examinations of fine-tuned models share.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.engine.engine import Engine, Tools
from trueformer.inference.engine.request import Request
from trueformer.inference.engine.thread import EngineThread
from trueformer.inference.reply import Reply
from trueformer.inference.tools.box import ToolBox
from trueformer.load import load_model
from trueformer.models.loaded import LoadedModel
from trueformer.tokenization.chat_format import ToolMarks, chat_format
from trueformer.tokenization.conversations import Conversation


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceConfig:
    """How a model is served."""

    n_slots: int = 8  # requests under way at once
    slot_len: int = 2048  # tokens of prompt and answer together; at most the model's max_len
    tools: tuple[str, ...] = ("calculator", "strings")  # built-in names, or Python files of one's own
    tool_seconds: float = 5.0  # of one call
    look_up: int = 0  # tokens guessed a step from the text itself, where the likeliest is always taken
    max_queue: int = 256  # requests that may wait
    dtype: Literal["float32", "bf16"] = "float32"  # bf16: faster where weights are many, rounds more
    compile_step: bool = False  # a minute or two first, then faster


class Service:
    """A loaded model, its chat format (None: it knows no chat) and its engine; use it in a `with` block.

    Raises:
        ValueError: the model has no tokenizer, or sizes do not fit it; or as `ToolBox`.
    """

    def __init__(self, loaded: LoadedModel, config: ServiceConfig) -> None:
        if loaded.tokenizer is None:
            raise ValueError(f"{loaded.source} has no tokenizer, so it can neither read nor write text")
        self.tokenizer, self.config, self.model_config = loaded.tokenizer, config, loaded.config
        self.chat = chat_format(loaded.tokenizer, loaded.chat_template)
        self.context_length = min(config.slot_len, loaded.config.max_len)
        marks = None if self.chat is None else self.chat.tools
        self.box = ToolBox(config.tools, timeout=config.tool_seconds) if marks and config.tools else None
        tools = Tools(tokenizer=loaded.tokenizer, marks=marks, box=self.box) if marks else None
        self.engine = Engine(
            loaded.model,
            n_slots=config.n_slots,
            slot_len=self.context_length,
            tools=tools,
            n_ids=loaded.tokenizer.vocab_size,
            look_up=config.look_up,
            max_queue=config.max_queue,
            compile_step=config.compile_step,
        )
        self.thread = EngineThread(self.engine)

    @property
    def marks(self) -> ToolMarks | None:
        """The marks of tools, where the model knows them."""
        return None if self.chat is None else self.chat.tools

    def chat_request(
        self,
        conversation: Conversation,
        sampling: SamplingConfig,
        *,
        max_new_tokens: int | None = None,
        logprobs: int | None = None,
    ) -> Request:
        """A request for the assistant's next message; without `max_new_tokens`, as long as there is room.

        Raises:
            ValueError: the model knows no chat, or the conversation does not fit.
        """
        if self.chat is None:
            raise ValueError("the model was not taught to converse: fine-tune it, or ask for a completion")
        prompt = self.chat.prompt(conversation)
        return Request(
            prompt=prompt,
            max_new_tokens=max_new_tokens or max(1, self.context_length - len(prompt)),
            sampling=sampling,
            stop_ids=self.chat.stop_ids,
            logprobs=logprobs,
            tools=self.chat.tools is not None,
        )

    def text_request(
        self,
        prompt: list[int],
        sampling: SamplingConfig,
        *,
        max_new_tokens: int,
        logprobs: int | None = None,
    ) -> Request:
        """A request for what follows these tokens, up to the end of a text."""
        stop_ids = frozenset({self.tokenizer.eos_id, self.tokenizer.bos_id})
        return Request(
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop_ids=stop_ids,
            logprobs=logprobs,
        )

    def reply(self, request: Request, stop: tuple[str, ...] = ()) -> Reply:
        """What turns the request's events into text; raises ValueError for an empty stop string."""
        return Reply(self.tokenizer, stop=stop, marks=self.marks if request.tools else None)

    def close(self) -> None:
        """End all requests, the engine's thread and the tools' processes."""
        self.thread.close()
        if self.box is not None:
            self.box.close()

    def __enter__(self) -> "Service":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


def open_service(name_or_path: str, config: ServiceConfig) -> Service:
    """Load a model, as `load_model` does, and begin to serve it.

    Raises:
        ValueError, ImportError, OSError: as `load_model` and `Service`.
    """
    dtype = torch.bfloat16 if config.dtype == "bf16" else torch.float32
    return Service(load_model(name_or_path, dtype=dtype), config)
