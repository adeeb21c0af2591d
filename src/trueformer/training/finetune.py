"""Fine-tuning: a base model taught to converse, whole or by low-rank adapters.

    base = "runs/shakespeare"
    start = start_from(load_model(base), base, ChatConfig(sources=("arithmetic",)))
    config = finetune_run(start.model.config, start.config, base=start.base, rows=start.rows)
    result = finetune(config, start, Path("runs/calculator"))

or `trueformer finetune runs/shakespeare arithmetic`. A base that knows no chat format gets ours: special
tokens and rows of the embedding for them. The loop, its checkpoints and its exact resuming are those of
pretraining; the loss is the mean over the tokens to be learned of a whole step, over all its micro-batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from trueformer.data.chat_rows import ChatSet
from trueformer.data.chats.sources import gather, hold_out
from trueformer.data.config import ChatConfig
from trueformer.models.decoder import DecoderLM
from trueformer.models.loaded import LoadedModel
from trueformer.models.resize import with_new_tokens
from trueformer.nn.lora import add_lora
from trueformer.tokenization.chat_format import (
    TOOL_TOKENS,
    MarkedFormat,
    TemplateFormat,
    chat_format,
)
from trueformer.tokenization.chat_layout import OURS
from trueformer.tokenization.conversations import Conversation, ToolCall
from trueformer.tokenization.load import load_tokenizer
from trueformer.training.callbacks.protocol import Callback
from trueformer.training.config import FinetuneConfig
from trueformer.training.data import ChatData
from trueformer.training.distributed import World
from trueformer.training.precision import parameter_dtype
from trueformer.training.randomness import seed_everything
from trueformer.training.run import Beginning, RunResult, checkpoint_to_resume, run
from trueformer.training.sampling import chat_sample

LARGEST_ROW = 1024  # tokens, where nothing else is asked for: longer rows mostly cost memory


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a fine-tuning run begins with: the base, grown if it lacked tokens, and its data."""

    base: str
    model: DecoderLM
    data: ChatData
    config: ChatConfig
    first_prompt: Conversation  # the beginning of a held-out conversation
    new_tokens: int  # special tokens the base did not have

    def loaded(self) -> LoadedModel:
        """The model as it is, to be asked something."""
        return LoadedModel(
            model=self.model.eval(),
            tokenizer=self.data.tokenizer,
            config=self.model.config,
            source=self.base,
            chat_template=self.data.chat_template,
        )

    @property
    def rows(self) -> int:
        """Packed rows an epoch has."""
        return len(self.data.train.rows(range(len(self.data.train.lengths))))


def start_from(loaded: LoadedModel, base: str, config: ChatConfig, *, seed: int = 1337) -> Start:
    """Read the conversations, and give the base, which goes by the name `base`, the special tokens they need.

    Raises:
        ValueError: a base without tokenizer, or with a chat format that is not known token for token;
            conversations that cannot be read or hold nothing to learn.
        OSError: a file cannot be read.
    """
    train, held_out = hold_out(gather(config.sources, skip_bad=config.skip_bad), config.val_fraction)
    chat = taught_format(loaded, base, [*train, *held_out])
    old = loaded.tokenizer
    assert old is not None
    new_ids = sorted(set(chat.tokenizer.special_ids.values()) - set(old.special_ids.values()))
    model = loaded.model
    if new_ids:
        model = with_new_tokens(
            model, chat.tokenizer.vocab_size, new_ids, torch.Generator().manual_seed(seed)
        )
    return _start(base, model, chat, config, (train, held_out), len(new_ids))


def _start(
    base: str,
    model: DecoderLM,
    chat: MarkedFormat,
    config: ChatConfig,
    sides: tuple[Sequence[Conversation], Sequence[Conversation]],
    new_tokens: int,
) -> Start:
    train, held_out = (ChatSet(side, chat, config.seq_len) for side in sides)
    return Start(
        base=base,
        model=model,
        data=ChatData(train=train, held_out=held_out, chat=chat),
        config=config,
        first_prompt=_prompt_of(sides[1]),
        new_tokens=new_tokens,
    )


def finetune(
    config: FinetuneConfig,
    start: Start,
    out: Path,
    *,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Fine-tune into the folder `out`.

    Raises:
        ValueError: `out` is in use, or the configuration contradicts itself. TrainingDiverged: as `train`.
    """
    return run(config, _beginning(start), out, resume=False, overwrite=overwrite, callbacks=callbacks)


def resume_finetuning(config: FinetuneConfig, out: Path, *, callbacks: Sequence[Callback] = ()) -> RunResult:
    """Go on with the fine-tuning run in `out`, exactly where it was saved.

    Raises:
        ValueError: there is no checkpoint; its conversations have changed; or as `finetune`.
    """
    checkpoint = checkpoint_to_resume(out, True)
    if checkpoint is None or checkpoint.tokenizer_path is None:
        raise ValueError(f"{out} has no checkpoint yet: start it again with --overwrite")
    chat = chat_format(load_tokenizer(checkpoint.tokenizer_path), checkpoint.state["chat_template"])
    assert isinstance(chat, MarkedFormat), "fine-tuning saves a format of marks"
    sides = hold_out(gather(config.data.sources, skip_bad=config.data.skip_bad), config.data.val_fraction)
    start = _start(config.base, DecoderLM(config.model), chat, config.data, sides, 0)
    return run(config, _beginning(start), out, resume=True, overwrite=False, callbacks=callbacks)


def _beginning(start: Start) -> Callable[[FinetuneConfig, World], Beginning]:
    def begin(config: FinetuneConfig, world: World) -> Beginning:
        """The start's model, with adapters and in the precision the configuration asks for."""
        seed_everything(config.loop.seed)
        model = start.model
        model.set_backend(config.loop.backend)
        if config.lora is not None:
            add_lora(model, config.lora)
            model.embedding.weight.requires_grad_(config.train_embedding)
        for parameter in model.parameters():
            parameter.data = parameter.data.to(parameter_dtype(config.loop))
        if world.rank:
            seed_everything(config.loop.seed + world.rank)
        asked = start.first_prompt
        return Beginning(model, start.data, chat_sample(model, start.data.chat, config.loop, asked))

    return begin


def taught_format(loaded: LoadedModel, base: str, conversations: Sequence[Conversation]) -> MarkedFormat:
    """The format a base is taught these in: its own, or ours; with tokens for tools if they use any.

    Raises:
        ValueError: the base has no tokenizer, or a chat format that is not known token for token.
    """
    if loaded.tokenizer is None:
        raise ValueError(f"{base} has no tokenizer, so it cannot learn to converse: add a tokenizer.json")
    chat = chat_format(loaded.tokenizer, loaded.chat_template)
    if isinstance(chat, TemplateFormat):
        raise ValueError(
            f"{base} has a chat template of its own, which does not say which tokens are the assistant's: "
            "expected a base without one, or with ChatML; fine-tune the base it was made from"
        )
    layout = OURS if chat is None else chat.layout
    parts = (part for c in conversations for m in c.messages for part in m.parts)
    tools = chat is None or any(isinstance(part, ToolCall) for part in parts)
    return MarkedFormat(loaded.tokenizer.extended([*layout.tokens, *(TOOL_TOKENS if tools else ())]), layout)


def _prompt_of(conversations: Sequence[Conversation]) -> Conversation:
    """A held-out conversation up to its first reply."""
    for conversation in conversations:
        roles = [message.role for message in conversation.messages]
        if "assistant" in roles[1:]:
            return Conversation(conversation.messages[: roles.index("assistant", 1)])
    return Conversation(conversations[0].messages[:1])
