"""A sample of what the model writes, taken while it trains and at the end, without disturbing the training.

Leaves out printing and keeping it: `callbacks/sample.py`.
"""

from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.config import LoopConfig


class TrainingSample:
    """Calling it continues `sample_prompt` with the weights of the moment; `last` is the latest."""

    def __init__(self, model: DecoderLM, tokenizer: Tokenizer, config: LoopConfig) -> None:
        self._model, self._tokenizer, self._config = model, tokenizer, config
        self.last: str | None = None

    def __call__(self) -> str:
        """The prompt and at most `sample_tokens` more; equal weights give equal text."""
        config, ends = self._config, (self._tokenizer.bos_id, self._tokenizer.eos_id)
        prompt = self._tokenizer.encode(config.sample_prompt, bos=True)
        sampling = SamplingConfig(temperature=config.sample_temperature, seed=config.seed)
        training = self._model.training
        self._model.eval()
        try:
            written = generate(
                self._model, [prompt], sampling, max_new_tokens=config.sample_tokens, stop_ids=ends
            )
        finally:
            self._model.train(training)
        self.last = self._tokenizer.decode(prompt + written[0].ids)
        return self.last
