"""`trueformer serve`: a model behind OpenAI's HTTP interface, and a page to talk with it."""

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from trueformer.inference.service import Service, ServiceConfig

KEY_VARIABLE = "TRUEFORMER_API_KEY"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Serve:
    """Serve a model to OpenAI's clients, and to people on a page.

    Try:
      trueformer serve smollm2
      trueformer serve runs/mine --slots 16 --api-key-file key.txt --host 0.0.0.0
    """

    model: tyro.conf.Positional[str]
    """A run, a checkpoint, a Hugging Face folder, a .gguf file, or smollm2."""
    host: str = "127.0.0.1"
    """Where to listen; 0.0.0.0 lets other machines in."""
    port: int = 8000
    """0 takes any that is free."""
    slots: int = 8
    """Requests under way at once; each takes memory for its text."""
    slot_len: int = 2048
    """Tokens of prompt and answer together."""
    max_queue: int = 256
    """Requests that may wait for a slot; more are told to come again."""
    timeout: float = 600.0
    """Seconds until an answer is given up."""
    tools: tuple[str, ...] = ("calculator", "strings")
    """What the model can call, where it was taught to: built-in names, or Python files of your own."""
    compile: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compile the usual pass: a minute or two first, then faster; best with --dtype bf16."""
    look_up: int = 0
    """Tokens guessed at a time from the text itself, where the likeliest is always taken."""
    dtype: Literal["float32", "bf16"] = "float32"
    """What weights are held in."""
    api_key_file: Path | None = None
    """Holds the key that clients must send; else the variable TRUEFORMER_API_KEY does; else none is asked."""

    def run(self) -> int:
        """Serve until stopped; returns the exit code."""
        try:
            from trueformer.inference.server.app import create_app
            from trueformer.inference.server.limits import ServerConfig
            from trueformer.inference.server.run import bind, run
        except ModuleNotFoundError as error:
            raise ImportError(f"serving needs {error.name}: pip install 'trueformer[serve]'") from error
        from trueformer.inference.service import open_service
        from trueformer.memory import settle_memory

        key, local = self.key(), self.host in LOOPBACK
        config = ServerConfig(api_key=key, loopback=local, timeout=self.timeout)
        with bind(self.host, self.port) as listening, open_service(self.model, self._config()) as service:
            if not local and key is None:
                print(
                    "trueformer: anyone who reaches this machine can use the model: set an API key",
                    file=sys.stderr,
                )
            name, port = Path(self.model).resolve().name.removesuffix(".gguf"), listening.getsockname()[1]
            settle_memory()  # after loading, whose temporary tensors it would keep
            app = create_app(service, name, config)
            greet = partial(self._greet, service, name, port, key is not None)
            run(app, listening, end=service.thread.close, on_ready=greet)
        return 0

    def _config(self) -> "ServiceConfig":
        from trueformer.inference.service import ServiceConfig

        return ServiceConfig(
            n_slots=self.slots,
            slot_len=self.slot_len,
            tools=self.tools,
            look_up=self.look_up,
            compile_step=self.compile,
            max_queue=self.max_queue,
            dtype=self.dtype,
        )

    def key(self) -> str | None:
        """The key that clients must send, if any; raises ValueError or OSError where its file has none."""
        if self.api_key_file is None:
            return os.environ.get(KEY_VARIABLE) or None
        key = self.api_key_file.read_text(encoding="utf-8").strip()
        if not key:
            raise ValueError(f"{self.api_key_file} is empty: expected the API key")
        return key

    def _greet(self, service: "Service", name: str, port: int, keyed: bool) -> None:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        path, asking = ("chat/completions", '"messages": [{"role": "user", "content": "Hello"}]')
        if service.chat is None:
            path, asking = "completions", '"prompt": "Once", "max_tokens": 50'
        header = " -H 'Authorization: Bearer KEY'" if keyed else ""
        print(f"Serving {name} at {url} (Ctrl-C ends it). Open it in a browser, or:")
        print(f'  curl {url}/v1/{path}{header} -d \'{{"model": "{name}", {asking}}}\'', flush=True)
