"""`trueformer export` and `trueformer import`: to and from other people's formats."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """Write a model as a stock Hugging Face folder: Qwen3, Llama or GPT-2, whichever it is.

    Try: trueformer export runs/shakespeare exported/
    """

    model: tyro.conf.Positional[str]
    """A run, a checkpoint, a Hugging Face folder, a .gguf file, or smollm2."""
    folder: tyro.conf.Positional[Path]
    """A new folder."""

    def run(self) -> int:
        """Export and print where to; returns the exit code."""
        from trueformer.transfer import export_model

        print(f"exported to {export_model(self.model, self.folder)}")
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """Write another model's weights and tokenizer as the first checkpoint of a run.

    Try: trueformer import smollm2 runs/smollm2
    """

    model: tyro.conf.Positional[str]
    """A Hugging Face folder, a .gguf file, or smollm2."""
    folder: tyro.conf.Positional[Path]
    """A new run folder."""

    def run(self) -> int:
        """Import and print where to; returns the exit code."""
        from trueformer.transfer import import_model

        print(f"imported to {import_model(self.model, self.folder)}")
        return 0
