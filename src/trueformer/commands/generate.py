"""`trueformer generate`: continue text, or answer one message, with any model that can be loaded."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import tyro

from trueformer.inference.config import SamplingConfig
from trueformer.tokenization.chat_template import render_chat

if TYPE_CHECKING:
    from trueformer.inference.compiled import CompiledDecoder
    from trueformer.models.decoder import DecoderLM
    from trueformer.models.loaded import LoadedModel


class SamplingOptions(TypedDict, total=False):
    """How tokens are drawn."""

    temperature: float
    """0 takes the likeliest token; 1 draws as the model says (0.8)."""
    top_k: int
    """Draw among the k likeliest."""
    top_p: float
    """Draw among the fewest tokens that hold this probability."""
    min_p: float
    """Drop tokens below this share of the likeliest one's probability."""
    repetition_penalty: float
    """Above 1 makes tokens that were used less likely (1)."""
    seed: int
    """Of the draws; one seed gives one text (0)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generate:
    """Continue a text, or answer a message where the model has a chat template.

    Try:
      trueformer generate runs/shakespeare --prompt "ROMEO:" --no-bos
      trueformer generate smollm2 --chat --prompt "What is the capital of France?" --temperature 0
    """

    model: tyro.conf.Positional[str]
    """A run, a checkpoint, a Hugging Face folder, a .gguf file, or smollm2."""
    prompt: str = "\n"
    """What to go on from, or with --chat the message; - reads standard input."""
    chat: tyro.conf.FlagCreatePairsOff[bool] = False
    """Put the prompt through the model's chat template, as the user's message."""
    max_new_tokens: int = 256
    """Tokens at most."""
    stop: tuple[str, ...] = ()
    """End before any of these texts."""
    compile: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compile the decoding step: half a minute first, then several times as fast."""
    int8: tyro.conf.FlagCreatePairsOff[bool] = False
    """Weights in 8 bits, computed with in bf16; with --compile."""
    dtype: Literal["float32", "bf16"] | None = None
    """What weights are held in (float32; bf16 with --int8)."""
    no_bos: tyro.conf.FlagCreatePairsOff[bool] = False
    """The prompt stands within a text: the token that begins one is not put before it."""
    sampling: SamplingOptions

    def run(self) -> int:
        """Print the text as it comes; returns the exit code."""
        import torch

        from trueformer.inference.text import TextDecoding
        from trueformer.load import load_model

        dtype = self.dtype or ("bf16" if self.int8 else "float32")
        loaded = load_model(self.model, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32)
        if loaded.tokenizer is None:
            raise ValueError(f"{self.model} has no tokenizer, so it can neither read nor write text")
        text = self._text(loaded)
        bos = False if self.chat or self.no_bos else None
        n_tokens = len(loaded.tokenizer.encode(text, bos=True, allow_special=self.chat)) + self.max_new_tokens
        options: dict[str, Any] = {"temperature": 0.8} | dict(self.sampling)
        decoding = TextDecoding(
            self._steps(loaded.model, n_tokens),
            loaded.tokenizer,
            [text],
            SamplingConfig(**options),
            max_new_tokens=self.max_new_tokens,
            stop=self.stop,
            bos=bos,
            allow_special=self.chat,
        )
        if not self.chat:
            print(text, end="", flush=True)
        for piece in decoding:
            print(piece.text, end="", flush=True)
        print()
        return 0

    def _text(self, loaded: "LoadedModel") -> str:
        prompt = sys.stdin.read() if self.prompt == "-" else self.prompt
        if not self.chat:
            return prompt
        if loaded.chat_template is None:
            raise ValueError(f"{self.model} has no chat template: leave out --chat to go on from the prompt")
        assert loaded.tokenizer is not None
        special = [name for name in loaded.tokenizer.special_ids if name in prompt]
        if special:
            raise ValueError(
                f"the message holds {special[0]!r}, which would end it and speak for others: remove it"
            )
        return render_chat(loaded.chat_template, [{"role": "user", "content": prompt}])

    def _steps(self, model: "DecoderLM", n_tokens: int) -> "DecoderLM | CompiledDecoder":
        from trueformer.inference.compiled import CompiledDecoder
        from trueformer.inference.quantize import quantize_int8

        if self.int8 and not self.compile:
            raise ValueError("--int8 needs --compile: give both, or neither")
        if not self.compile:
            return model
        model = quantize_int8(model) if self.int8 else model
        return CompiledDecoder(model, max_len=min(n_tokens, model.config.max_len))
