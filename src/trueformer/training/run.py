"""A whole run: prepare the data, build the model, resume or start, train, leave a folder with everything.

    result = train(config, Path("runs/first"))          # or: trueformer train shakespeare --out runs/first

Leaves out parsing and printing (`cli`), and the loop itself (`loop`).
"""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from trueformer.data.shards import PreparedData, prepare
from trueformer.evaluation.bits_per_byte import EvalResult
from trueformer.memory import settle_memory
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.models.size import training_flops_per_token
from trueformer.training.callbacks.checkpoint import KeepCheckpoints
from trueformer.training.callbacks.early_stopping import EarlyStopping
from trueformer.training.callbacks.figure import LossFigure
from trueformer.training.callbacks.gradients import GradientMonitor
from trueformer.training.callbacks.metrics import Metrics
from trueformer.training.callbacks.progress import Progress
from trueformer.training.callbacks.protocol import Callback
from trueformer.training.callbacks.sample import Sample
from trueformer.training.callbacks.trackers import make_tracker
from trueformer.training.checkpoints import Checkpoint
from trueformer.training.config import FinetuneConfig, LoopConfig, RunConfig
from trueformer.training.data import TextData, TrainingData
from trueformer.training.distributed import World, joined_world, main_first
from trueformer.training.loop import Trainer
from trueformer.training.precision import compile_pays, parameter_dtype, resolve_device
from trueformer.training.randomness import seed_everything
from trueformer.training.run_folder import check_claim, check_resumable, clear, describe_run, find_checkpoint
from trueformer.training.sampling import TrainingSample, text_sample

Config = TypeVar("Config", RunConfig, FinetuneConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """How a run ended."""

    folder: Path
    step: int
    reason: str  # "finished", a signal's name, or what a callback said
    exit_code: int  # 0, or 130/143 after SIGINT/SIGTERM
    loss: float  # of the last training step, nats a token; NaN if none was taken
    evaluation: EvalResult | None  # the latest; None if a signal came before the first
    sample: str | None  # what the model wrote last


class Beginning(NamedTuple):
    """What a run trains, on what, and what shows how it writes."""

    model: DecoderLM
    data: TrainingData
    sample: TrainingSample


def train(
    config: RunConfig,
    out: Path,
    *,
    resume: bool | Path = False,
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train `config` into the folder `out`; `callbacks` come after the usual ones.

    `resume` goes on with the run in `out`; given a run or checkpoint folder, with a copy of that in a new
    `out`.

    Raises:
        ValueError: `out` is in use; the config contradicts itself, the data or what is resumed; nothing is
        trained. TrainingDiverged: losses stayed non-finite.
    """
    return run(config, begin_on_text, out, resume=resume, overwrite=overwrite, callbacks=callbacks)


def run(
    config: Config,
    begin: Callable[[Config, World], Beginning],
    out: Path,
    *,
    resume: bool | Path,
    overwrite: bool,
    callbacks: Sequence[Callback],
) -> RunResult:
    """Train into `out` what `begin` makes of the configuration; the rest is `train`'s."""
    if isinstance(resume, Path) and resume.resolve() == out.resolve():
        resume = True
    settle_memory()
    with joined_world() as world:
        return _run_among(world, config, begin, out, resume, overwrite, callbacks)


def _run_among(
    world: World,
    config: Config,
    begin: Callable[[Config, World], Beginning],
    out: Path,
    resume: bool | Path,
    overwrite: bool,
    callbacks: Sequence[Callback],
) -> RunResult:
    """`run` within a joined group; nothing that holds the group outlives the call."""
    device = resolve_device(config.loop.device, world.local_rank)
    with main_first(world):
        if world.is_main:
            check_claim(out, resume=resume is True, overwrite=overwrite)
    checkpoint = checkpoint_to_resume(out, resume)
    config = _resolved(config, checkpoint, device)
    if checkpoint is not None:
        check_resumable(config, checkpoint)
    begun = begin(config, world)
    everyone = [*standard_callbacks(config.loop, begun.sample), *callbacks]
    trainer = Trainer(config, begun.model, begun.data, out, device=device, world=world, callbacks=everyone)
    if checkpoint is not None:
        trainer.load(checkpoint)
    if world.is_main:
        if resume is not True:
            clear(out)
        describe_run(out, config, begun.data.tokenizer)
    stop = trainer.fit()
    evaluation = trainer.evaluation
    if evaluation is None and stop.reason == "finished":  # resumed where nothing was left to do
        evaluation = trainer.evaluate()
    return RunResult(
        folder=out,
        step=stop.step,
        reason=stop.reason,
        exit_code=trainer.exit_code,
        loss=trainer.loss,
        evaluation=evaluation,
        sample=begun.sample.last,
    )


def checkpoint_to_resume(out: Path, resume: bool | Path) -> Checkpoint | None:
    """What to go on from: the run in `out` may have nothing yet, which is said; one that is named must."""
    if not resume:
        return None
    source = out if resume is True else resume
    checkpoint = find_checkpoint(source)
    if checkpoint is None and resume is not True:
        raise ValueError(f"{source} has no checkpoint: expected a run or a checkpoint folder to start from")
    if checkpoint is None:
        warnings.warn(f"{source} has no checkpoint yet: starting it from step 0", stacklevel=2)
    return checkpoint


def build_model(config: DecoderConfig, loop: LoopConfig) -> DecoderLM:
    """A fresh model with the loop's backend and parameter precision; rotary tables stay float32."""
    model = DecoderLM(config, backend=loop.backend)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(parameter_dtype(loop))
    return model


def begin_on_text(config: RunConfig, world: World) -> Beginning:
    """A fresh model and a prepared corpus.

    Raises:
        ValueError: the corpus cannot be read, or the model is for another vocabulary.
    """
    with main_first(world):
        prepared = prepare(config.data)
    check_vocabulary(config.model, prepared)
    seed_everything(config.loop.seed)
    model = build_model(config.model, config.loop)
    if world.rank:
        seed_everything(config.loop.seed + world.rank)  # the same weights everywhere, dropout of its own
    sample = text_sample(model, prepared.tokenizer, config.loop)
    return Beginning(model, TextData(prepared, config.data), sample)


def check_vocabulary(model: DecoderConfig, data: PreparedData) -> None:
    """Raise ValueError unless the model has exactly one embedding for each of the tokenizer's ids."""
    size = data.tokenizer.vocab_size
    if model.vocab_size != size:
        raise ValueError(
            f"the model's vocab_size is {model.vocab_size}, the tokenizer has {size} ids: set vocab_size = "
            f"{size} (ids beyond the model's have no embedding, others never train)"
        )


def standard_callbacks(loop: LoopConfig, sample: TrainingSample) -> list[Callback]:
    """What a run tells and keeps, as the loop's configuration asks."""
    callbacks: list[Callback] = [
        Progress(),
        Metrics(),
        LossFigure(),
        KeepCheckpoints(every=loop.checkpoint_every, keep_last=loop.keep_last),
        Sample(sample, every=loop.sample_every),
    ]
    if loop.patience is not None:
        callbacks.append(EarlyStopping(patience=loop.patience))
    if loop.watch_gradients:
        callbacks.append(GradientMonitor(every=loop.watch_gradients))
    return callbacks + [make_tracker(name) for name in loop.track]


def _resolved(config: Config, checkpoint: Checkpoint | None, device: torch.device) -> Config:
    """The config with `compile` decided: as it was when resuming, else by whether it pays."""
    if config.loop.compile is not None:
        return config
    if checkpoint is not None:
        compiled = bool(checkpoint.config["loop"]["compile"])
    else:
        tokens = config.loop.steps * config.loop.batch_size * config.data.seq_len
        flops = float(tokens) * training_flops_per_token(config.model, config.data.seq_len)
        compiled = compile_pays(config.loop, flops, config.model.n_layers, device)
    return dataclasses.replace(config, loop=dataclasses.replace(config.loop, compile=compiled))
