"""How well a model predicts held-out text: nats a token, perplexity, and bits a byte of the raw text.

Bits per byte compare models with different tokenizers: the nats of all targets that stand for text, over the
bytes they stand for. Special tokens stand for no bytes, and the nats spent on them are left out of bits per
byte (they count in nats per token, as in the training loss). Text a character tokenizer does not know is
special in this sense too: it has no bytes, and `TokenSet.n_bytes` shows how much that is.

Every token but the very first is predicted once, from the row of `seq_len` tokens it lies in, so the first
tokens of a row have little context: longer rows give lower figures.

Shapes: B rows, T seq_len.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trueformer.data.loader import IGNORE, Batch, validation_batches
from trueformer.data.token_set import TokenSet
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.distributed import World, summed
from trueformer.training.loss import token_nats


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalResult:
    """Sums over targets, and the figures made of them."""

    nats: float  # over all targets
    squared_nats: float
    tokens: int
    byte_nats: float  # over the targets that stand for bytes
    bytes: int

    @property
    def nats_per_token(self) -> float:
        """Mean cross-entropy of a token, special ones included; NaN without targets."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def standard_error(self) -> float:
        """Of nats_per_token, with tokens taken as independent, which they are not: a lower bound."""
        if not self.tokens:
            return math.nan
        variance = self.squared_nats / self.tokens - self.nats_per_token**2
        return math.sqrt(max(variance, 0.0) / self.tokens)

    @property
    def perplexity(self) -> float:
        """exp(nats_per_token); infinity where that overflows."""
        return math.exp(self.nats_per_token) if self.nats_per_token < 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Bits a byte of raw UTF-8 text; NaN without any."""
        return self.byte_nats / (self.bytes * math.log(2)) if self.bytes else math.nan


def evaluate(
    model: DecoderLM,
    tokens: TokenSet,
    tokenizer: Tokenizer,
    *,
    batch_size: int,
    seq_len: int,
    document_mask: bool = False,
    max_batches: int | None = None,
    chunk: int = 4096,
    world: World | None = None,
) -> EvalResult:
    """How well `model` predicts `tokens`, in rows of `seq_len`; the rest as for `evaluate_batches`.

    Raises:
        ValueError: sizes that cannot work, or a tokenizer of another vocabulary than the model's.
    """
    world = world or World()
    batches = validation_batches(
        tokens,
        batch_size=batch_size,
        seq_len=seq_len,
        rank=world.rank,
        world_size=world.size,
        document_mask=document_mask,
    )
    return evaluate_batches(model, batches, tokenizer, max_batches=max_batches, chunk=chunk, world=world)


@torch.inference_mode()
def evaluate_batches(
    model: DecoderLM,
    batches: Iterator[Batch],
    tokenizer: Tokenizer,
    *,
    max_batches: int | None = None,
    chunk: int = 4096,
    world: World | None = None,
) -> EvalResult:
    """How well `model` predicts the targets of `batches`, over all processes of `world`.

    Each process must call this, with equally many batches of its own. The model is in evaluation mode
    meanwhile, and then each part in the mode it was in. Runs where the weights are, in the precision of the
    autocast around the call. `max_batches` stops after that many.

    Raises:
        ValueError: `max_batches` below 1, or a tokenizer of another vocabulary than the model's.
    """
    _check_vocabulary(model, tokenizer)
    if max_batches is not None and max_batches < 1:
        raise ValueError(f"max_batches is {max_batches}: expected at least 1, or none for the whole split")
    world = world or World()
    device = model.head_weight.device
    bytes_V = torch.from_numpy(tokenizer.token_bytes())
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        wanted = itertools.islice(batches, max_batches)
        sums = [_sums(model, batch, bytes_V, device, chunk) for batch in wanted]
    finally:
        for module, training in modes:
            module.training = training
    nats, squared, n_tokens, byte_nats, n_bytes = summed(
        [sum(column) for column in zip(*sums, strict=True)], world
    )
    return EvalResult(
        nats=nats, squared_nats=squared, tokens=round(n_tokens), byte_nats=byte_nats, bytes=round(n_bytes)
    )


def _sums(
    model: DecoderLM, batch: Batch, bytes_V: Tensor, device: torch.device, chunk: int
) -> tuple[int | float, ...]:
    """A batch's part of each field of EvalResult, in their order."""
    documents = batch.document_BT.to(device) if batch.document_BT is not None else None
    hidden = model.hidden(batch.inputs_BT.to(device), document_BT=documents)
    targets_BT = batch.targets_BT
    nats_BT = token_nats(
        hidden,
        model.head_weight,
        targets_BT.to(device),
        softcap=model.config.logit_softcap,
        chunk=chunk,
        ignore_index=IGNORE,
    )
    real_BT = targets_BT != IGNORE
    nats_BT = nats_BT.cpu().double()  # sums in float64: a validation set has millions of targets
    bytes_BT = torch.where(real_BT, bytes_V[targets_BT.clamp(min=0)], 0)
    return (
        nats_BT.sum().item(),
        nats_BT.square().sum().item(),
        real_BT.sum().item(),
        nats_BT[bytes_BT > 0].sum().item(),
        bytes_BT.sum().item(),
    )


def _check_vocabulary(model: DecoderLM, tokenizer: Tokenizer) -> None:
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} ids and the model {model.config.vocab_size}: "
            "expected the tokenizer the model was trained with"
        )
