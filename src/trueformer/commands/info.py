"""`trueformer info`: what a model is, or what this machine offers."""

import platform
from dataclasses import dataclass
from typing import Any

import tyro

from trueformer.commands.show import si


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """Describe a model (size, shape, tokenizer, where it came from), or this machine when none is named.

    Try:
      trueformer info
      trueformer info runs/shakespeare
    """

    model: tyro.conf.Positional[str] = ""
    """A run, a checkpoint, a Hugging Face folder, a .gguf file, or smollm2."""

    def run(self) -> int:
        """Print one fact a line; returns the exit code."""
        facts = _model(self.model) if self.model else _machine()
        width = max(map(len, facts)) + 2
        for name, value in facts.items():
            print(f"{name:<{width}}{value}")
        return 0


def _machine() -> dict[str, Any]:
    import torch

    import trueformer

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "trueformer": trueformer.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "vector units": torch.backends.cpu.get_cpu_capability(),
        "GPUs": ", ".join(gpus) or "none",
    }


def _model(name: str) -> dict[str, Any]:
    import dataclasses

    from trueformer.load import load_model
    from trueformer.models.size import cache_bytes_per_token, count_parameters

    loaded = load_model(name)
    config, count = loaded.config, count_parameters(loaded.config)
    facts: dict[str, Any] = {
        "source": loaded.source,
        "parameters": f"{si(count.total)} ({si(count.non_embedding)} without embeddings)",
        "cache a token": f"{si(cache_bytes_per_token(config, bytes_per_value=2), 'B')} in bf16",
        "chat template": "yes" if loaded.chat_template else "no",
    }
    if loaded.tokenizer is not None:
        facts["tokenizer"] = f"{loaded.tokenizer.vocab_size} ids, {loaded.tokenizer.fingerprint[:12]}"
    return facts | dataclasses.asdict(config)
