"""The stack as the doctor sees any model: our parts under the names that a subject has.

The laws know nothing of us; this is the one place that knows both. Leaves out running them
(`doctor/check.py`) and finished runs (`run_subject.py`).

    check(**of_config(config, data))
"""

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trueformer.data.chat_rows import ChatLoader, ChatSet
from trueformer.data.chats.openai_messages import from_openai
from trueformer.data.loader import IGNORE, Batch
from trueformer.data.shards import prepare
from trueformer.inference.config import SamplingConfig
from trueformer.inference.generate import generate
from trueformer.inference.plain import plain_generate
from trueformer.models.decoder import DecoderLM
from trueformer.nn.cache import KVCache
from trueformer.optim.build import Optimizers, build_optimizer
from trueformer.optim.schedules import factor
from trueformer.tokenization.chat_format import MarkedFormat, chat_format
from trueformer.tokenization.load import load_tokenizer
from trueformer.tokenization.protocol import Tokenizer
from trueformer.training.checkpoints import load_checkpoint
from trueformer.training.config import RunConfig
from trueformer.training.data import Loader, TextData, TrainingData
from trueformer.training.distributed import World
from trueformer.training.folders import checkpoint_folders
from trueformer.training.loop import Trainer
from trueformer.training.objective import Objective
from trueformer.training.run import build_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class StackParts:
    """How this configuration trains, saves and writes, as functions of a model and an optimizer."""

    config: RunConfig
    data: TrainingData

    def loss(self, model: DecoderLM, batch: Batch) -> Tensor:
        """The mean loss of a batch's targets, in nats a token."""
        total = Objective(model, self.config.loop)(batch.inputs_BT, batch.targets_BT, batch.document_BT)
        return total / (batch.targets_BT != IGNORE).sum()

    def schedule(self, step: int) -> float:
        """The share of the peak rate at an optimizer step."""
        return factor(self.config.schedule, step, self.config.loop.steps)

    def train_step(
        self, model: DecoderLM, batches: Sequence[Batch], optimizer: Optimizers, step: int = 0
    ) -> float:
        """Step number `step`, from 0, of the loop, over these micro-batches; returns its loss."""
        trainer = self._trainer(model, optimizer, Path("unused"), given=batches)
        trainer.progress.step = step
        return trainer.step().loss

    def evaluate(self, model: DecoderLM) -> float:
        """Nats a token on the validation split."""
        return self._trainer(model, None, Path("unused")).evaluate().nats_per_token

    def generate(
        self,
        model: DecoderLM,
        ids: Tensor | Sequence[Sequence[int]],
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        eos_id: int | None = None,
    ) -> list[list[int]]:
        """Each row of `ids` and its continuation, which ends before `eos_id`; `seeds` are one a row."""
        prompts = [[int(i) for i in row] for row in ids]
        samplings = [
            SamplingConfig(
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                repetition_penalty=repetition_penalty,
                seed=seed,
            )
            for seed in seeds or [seed] * len(prompts)
        ]
        was_training = model.training
        limits = {"max_new_tokens": max_new_tokens, "stop_ids": {eos_id} - {None}}
        try:
            written = self._written(model.eval(), prompts, samplings, limits)
        finally:
            model.train(was_training)
        return [prompt + new for prompt, new in zip(prompts, written, strict=True)]

    def _written(
        self,
        model: DecoderLM,
        prompts: list[list[int]],
        samplings: list[SamplingConfig],
        limits: dict[str, Any],
    ) -> list[list[int]]:
        """New tokens, by the twin that the configuration names."""
        if self.config.loop.backend == "plain":
            rows = zip(prompts, samplings, strict=True)
            return [plain_generate(model, prompt, sampling, **limits) for prompt, sampling in rows]
        return [new.ids for new in generate(model, prompts, samplings, **limits)]

    def cache(self, model: DecoderLM, n_rows: int, length: int) -> dict[str, KVCache]:
        """What passes over one batch take along to remember the ones before."""
        weight = model.embedding.weight
        return {"cache": KVCache(model.config, n_rows, length, dtype=weight.dtype, device=weight.device)}

    def save(
        self,
        model: DecoderLM,
        optimizer: Optimizers,
        folder: Path,
        step: int = 0,
        loader: Loader | None = None,
    ) -> None:
        """A checkpoint in a run folder, after `step` steps."""
        trainer = self._trainer(model, optimizer, folder)
        trainer.progress.step = step
        trainer.loader = trainer.loader if loader is None else loader
        trainer.save()

    def load(
        self, folder: Path, model: DecoderLM, optimizer: Optimizers, loader: Loader | None = None
    ) -> int:
        """Everything of that checkpoint back into these; returns the steps behind it."""
        trainer = self._trainer(model, optimizer, folder)
        trainer.loader = trainer.loader if loader is None else loader
        trainer.load(load_checkpoint(checkpoint_folders(folder)[0]))
        return trainer.progress.step

    def load_tokenizer(self, folder: Path) -> Tokenizer:
        """The tokenizer that a checkpoint carries."""
        path = load_checkpoint(checkpoint_folders(folder)[0]).tokenizer_path
        assert path is not None
        return load_tokenizer(path)

    def prepare(self, documents: Sequence[str]) -> tuple[Loader, "Validation"]:
        """The loaders of training and validation over these documents, made as a run makes its own."""
        with tempfile.TemporaryDirectory() as folder:  # what was mapped from it stays readable
            source = Path(folder) / "documents.jsonl"
            source.write_text(
                "".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8"
            )
            wanted = dataclasses.replace(self.config.data, source=str(source), validation=None, cache=folder)
            data = TextData(prepare(wanted, tokenizer=self.data.tokenizer), wanted)
        loop = self.config.loop
        return data.loader(loop.batch_size, loop.seed, World()), Validation(data, loop.batch_size)

    @property
    def chat(self) -> MarkedFormat | None:
        """The chat format that the tokenizer has the tokens for, if it can be learned."""
        found = chat_format(self.data.tokenizer, self.data.chat_template)
        return found if isinstance(found, MarkedFormat) else None

    def chats(self, conversations: Sequence[list[dict[str, Any]]]) -> ChatLoader:
        """The loader that fine-tuning makes of these conversations."""
        assert self.chat is not None
        found = ChatSet(map(from_openai, conversations), self.chat, self.config.data.seq_len)
        return ChatLoader(found, batch_size=self.config.loop.batch_size, seed=self.config.loop.seed)

    def rank_loader(self, rank: int, world_size: int) -> Loader:
        """The training loader of one process of several."""
        loop = self.config.loop
        return self.data.loader(loop.batch_size, loop.seed, World(rank=rank, size=world_size))

    def _trainer(
        self, model: DecoderLM, optimizer: Optimizers | None, folder: Path, given: Sequence[Batch] = ()
    ) -> Trainer:
        config, data = self.config, self.data
        if given:
            rows = len(given[0].inputs_BT)
            loop = dataclasses.replace(config.loop, batch_size=rows * len(given), micro_batch_size=rows)
            config, data = dataclasses.replace(config, loop=loop), Given(data, given)
        device = next(model.parameters()).device
        trainer = Trainer(config, model, data, folder, device=device)
        if optimizer is not None:
            trainer.optimizers = optimizer
        return trainer


class Given:
    """Training data whose batches are the ones given, one after another; all else is the data's own."""

    def __init__(self, data: TrainingData, batches: Sequence[Batch]) -> None:
        self.tokenizer, self.chat_template = data.tokenizer, data.chat_template
        self.fingerprint, self._data, self._batches = data.fingerprint, data, batches

    def loader(self, batch_size: int, seed: int, world: World) -> "GivenLoader":
        """The batches, in order."""
        return GivenLoader(self._batches)

    def validation(self, batch_size: int, world: World) -> Iterator[Batch]:
        """The data's own."""
        return self._data.validation(batch_size, world)


class GivenLoader:
    """Batches from a list."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches, self._place = list(batches), 0

    def __next__(self) -> Batch:
        self._place += 1
        return self._batches[self._place - 1]

    def state_dict(self) -> dict[str, int]:
        """The place in the list."""
        return {"place": self._place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a place."""
        self._place = state["place"]


class Validation:
    """The validation split as something that can be gone through again and again."""

    def __init__(self, data: TrainingData, batch_size: int) -> None:
        self._data, self._batch_size = data, batch_size

    def __iter__(self) -> Iterator[Batch]:
        return self._data.validation(self._batch_size, World())


def of_config(config: RunConfig, data: TrainingData, model: DecoderLM | None = None) -> dict[str, Any]:
    """The subject that this configuration makes: arguments for `check`, `model` among them."""
    torch.manual_seed(config.loop.seed)
    model = build_model(config.model, config.loop) if model is None else model
    parts = StackParts(config=config, data=data)
    unscaled = config.model.positions == "rope" and config.model.rope_scaling is None
    return {
        "model": model,
        "vocab_size": config.model.vocab_size,
        "max_len": config.model.max_len,
        "claims": {
            "rope_base": config.model.rope_base if unscaled else None,
            "window": config.model.window,
            "scale": (config.model.head_dim or 1) ** -0.5,
            "positions": config.model.positions != "none",
            "mask": "key_valid_BS",
            "documents": "document_BT",
            "bos_id": data.tokenizer.bos_id,
        },
        "optimizer": build_optimizer(model, config.optim, config.loop.backend),
        "loader": data.loader(config.loop.batch_size, config.loop.seed, World()),
        "val_loader": Validation(data, config.loop.batch_size),
        "tokenizer": data.tokenizer,
        "build": lambda: build_model(config.model, config.loop),
        "warmup_steps": config.schedule.warmup_steps,
        "max_steps": config.loop.steps,
        **{
            name: getattr(parts, name)
            for name in (
                "loss",
                "schedule",
                "train_step",
                "evaluate",
                "generate",
                "cache",
                "save",
                "load",
                "load_tokenizer",
                "prepare",
                "rank_loader",
            )
        },
        "chats": None if parts.chat is None else parts.chats,
    }
