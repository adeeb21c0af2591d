"""`trueformer chat`: talk with a model in the terminal, or from a script through a pipe."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import tyro

from trueformer.commands.show import si
from trueformer.inference.terminal.settings import Settings

if TYPE_CHECKING:
    from trueformer.inference.service import Service


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    """Talk with a model. Ctrl-C stops a reply, Ctrl-D leaves, /help lists the commands.

    From a pipe each line is a message, and only replies are printed.

    Try:
      trueformer chat smollm2
      trueformer chat runs/chat --system "You are terse." --temperature 0.5
      echo "What is the capital of France?" | trueformer chat smollm2 --temperature 0
    """

    model: tyro.conf.Positional[str]
    """A run, a checkpoint, a Hugging Face folder, a .gguf file, or smollm2."""
    system: str = ""
    """How the assistant is to behave."""
    settings: Settings = field(default_factory=Settings)
    tools: tuple[str, ...] = ("calculator", "strings")
    """Built-in names, or Python files of one's own; for models that know tools."""
    dtype: Literal["float32", "bf16"] = "float32"
    """What weights are held in."""
    slot_len: int = 2048
    """Tokens of the whole conversation at most; the model may have room for fewer."""

    def run(self) -> int:
        """Talk until the user leaves; returns the exit code."""
        with self._open() as service:
            from trueformer.inference.terminal.loop import converse
            from trueformer.inference.terminal.session import Session

            session = Session(service, self.settings, system=self.system)
            return converse(session, about=self._about(service))

    def _open(self) -> "Service":
        from rich.console import Console
        from rich.text import Text

        # On stderr, since stdout may be read by a program; nothing where that is no terminal.
        with Console(stderr=True).status(Text(f"loading {self.model}")):
            from trueformer.inference.service import ServiceConfig, open_service

            config = ServiceConfig(n_slots=1, slot_len=self.slot_len, tools=self.tools, dtype=self.dtype)
            return open_service(self.model, config)

    def _about(self, service: "Service") -> str:
        from trueformer.models.size import count_parameters

        tools = "no tools" if service.box is None else f"tools: {', '.join(service.box.names)}"
        size = si(count_parameters(service.model_config).total)
        return f"{self.model}: {size} parameters, context of {service.context_length} tokens, {tools}"
