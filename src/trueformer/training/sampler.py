"""What the model writes while it trains. Filled in with inference/text."""

from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.config import LoopConfig


class Sampler:
    def __init__(self, model: DecoderLM, tokenizer: Tokenizer, config: LoopConfig) -> None:
        self.last: str | None = None

    def __call__(self) -> str:
        self.last = ""
        return self.last
