"""A sample of what the model writes, taken while it trains and at the end, without disturbing the training.

Leaves out printing and keeping it: `callbacks/sample.py`.
"""

from collections.abc import Collection, Sequence

from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.chat_format import MarkedFormat
from trueformer.tokenization.conversations import Conversation
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.config import LoopConfig


class TrainingSample:
    """Calling it continues `prompt` with the weights of the moment; `last` is the latest."""

    def __init__(
        self,
        model: DecoderLM,
        tokenizer: Tokenizer,
        config: LoopConfig,
        *,
        prompt: Sequence[int],
        stop_ids: Collection[int],
        skip_special: bool = True,
    ) -> None:
        self._model, self._tokenizer, self._config = model, tokenizer, config
        self._prompt, self._stop_ids, self._skip_special = list(prompt), stop_ids, skip_special
        self.last: str | None = None

    def __call__(self) -> str:
        """The prompt and at most `sample_tokens` more; equal weights give equal text."""
        config = self._config
        sampling = SamplingConfig(temperature=config.sample_temperature, seed=config.seed)
        training = self._model.training
        self._model.eval()
        try:
            written = generate(
                self._model,
                [self._prompt],
                sampling,
                max_new_tokens=config.sample_tokens,
                stop_ids=self._stop_ids,
            )
        finally:
            self._model.train(training)
        self.last = self._tokenizer.decode(self._prompt + written[0].ids, skip_special=self._skip_special)
        return self.last


def text_sample(model: DecoderLM, tokenizer: Tokenizer, config: LoopConfig) -> TrainingSample:
    """What goes on from `sample_prompt`, or begins a document."""
    prompt = tokenizer.encode(config.sample_prompt, bos=True)
    ends = (tokenizer.bos_id, tokenizer.eos_id)
    return TrainingSample(model, tokenizer, config, prompt=prompt, stop_ids=ends)


def chat_sample(
    model: DecoderLM, chat: MarkedFormat, config: LoopConfig, asked: Conversation
) -> TrainingSample:
    """The reply to `asked`, marks shown, up to its end or the first call of a tool, which is not run."""
    ends = set(chat.stop_ids) | ({chat.tools.call_end} if chat.tools else set())
    return TrainingSample(
        model, chat.tokenizer, config, prompt=chat.prompt(asked), stop_ids=ends, skip_special=False
    )
