"""`trueformer eval`: how well a model predicts text, in bits a byte and perplexity."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from trueformer.commands.show import table


@dataclass(frozen=True, kw_only=True, slots=True)
class Eval:
    """Measure a model on text: bits a byte, nats a token, perplexity.

    A run is measured on its own validation split; give a source to measure on all of another text.

    Try:
      trueformer eval runs/shakespeare
      trueformer eval smollm2 essays/*.txt --seq-len 1024
    """

    model: tyro.conf.Positional[str]
    """A run, a checkpoint, a Hugging Face folder, a .gguf file, or smollm2."""
    source: tyro.conf.Positional[tuple[str, ...]] = ()
    """A named corpus, a file, a folder or a glob; none: the run's validation split."""
    seq_len: int = 0
    """Tokens a row; 0: as the run was trained, else 512 or the model's most."""
    batch_size: int = 8
    """Rows at once."""
    max_batches: int = 0
    """Batches at most; 0: all."""

    def run(self) -> int:
        """Measure and print one table; returns the exit code."""
        from trueformer.evaluation.bits_per_byte import evaluate
        from trueformer.evaluation.text import validation_split, whole_text
        from trueformer.load import load_model

        loaded = load_model(self.model)
        if loaded.tokenizer is None:
            raise ValueError(
                f"{self.model} has no tokenizer, so no text can be measured: add a tokenizer.json"
            )
        if self.source:
            tokens = whole_text(self.source, loaded.tokenizer)
            seq_len = self.seq_len or min(512, loaded.config.max_len)
        else:
            tokens, data = validation_split(Path(self.model), loaded.tokenizer)
            seq_len = self.seq_len or data.seq_len
        result = evaluate(
            loaded.model,
            tokens,
            loaded.tokenizer,
            batch_size=self.batch_size,
            seq_len=seq_len,
            max_batches=self.max_batches or None,
        )
        table(
            [
                {
                    "bits a byte": f"{result.bits_per_byte:.4f}",
                    "nats a token": f"{result.nats_per_token:.4f} ± {result.standard_error:.4f}",
                    "perplexity": f"{result.perplexity:.2f}",
                    "tokens": result.tokens,
                    "bytes": result.bytes,
                }
            ]
        )
        return 0
