"""What loading gives, wherever a model came from.

Leaves out the loading (`load`, `convert`).
"""

from dataclasses import dataclass

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.protocol import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A model in evaluation mode on the CPU, with the tokenizer it was trained with."""

    model: DecoderLM
    tokenizer: Tokenizer | None  # None: the folder holds weights only
    config: DecoderConfig
    source: str  # the file or folder it was read from
    chat_template: str | None = None  # Jinja, as the file gives it
