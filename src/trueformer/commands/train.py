"""`trueformer train`: options, and the configuration they resolve to.

Leaves out training itself (`training/run.py`). Nothing here imports torch until the command runs.
"""

import dataclasses
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import tyro

from trueformer.commands.show import show_plan, show_result, show_summary
from trueformer.data.config import DataConfig
from trueformer.presets import PRESETS, depth_model, depth_run
from trueformer.training.config import RunConfig

DEPTH = 4


class ModelOptions(TypedDict, total=False):
    """The model. What is not given follows from --depth or --preset."""

    d_model: int
    """Width of the residual stream (64 × depth)."""
    n_layers: int
    """Blocks; with --preset only, since --depth is the same number."""
    n_heads: int
    """Query heads (d_model / 64)."""
    n_kv_heads: int
    """Key and value heads; must divide n_heads (half of them)."""
    head_dim: int
    """Width of a head (d_model / n_heads)."""
    d_ff: int
    """Width of the feed-forward (8/3 × d_model for swiglu, else 4 ×)."""
    max_len: int
    """Longest sequence the model accepts (the row length, or the preset's)."""
    positions: Literal["rope", "learned", "sinusoidal", "none"]
    """How order is told."""
    rope_base: float
    """Base of the rotary wavelengths."""
    norm: Literal["rmsnorm", "layernorm"]
    """The normalisation."""
    norm_placement: Literal["pre", "post"]
    """Before each sublayer, or after its residual sum."""
    qk_norm: bool
    """Normalise queries and keys by head."""
    feed_forward: Literal["swiglu", "gelu", "gelu_tanh", "relu2"]
    """The feed-forward."""
    window: int
    """A query sees itself and the window - 1 tokens before it."""
    attention_sinks: bool
    """A learned logit a head in the softmax's denominator."""
    dropout: float
    """Dropped share of activations, in training only."""
    tied: bool
    """Whether the head is the embedding."""
    logit_softcap: float
    """Logits are bent to stay within ± this."""


class DataOptions(TypedDict, total=False):
    """The data."""

    validation: str
    """A separate validation source; else documents of the source are held out by hash."""
    val_fraction: float
    """Share of documents held out (0.1)."""
    tokenizer: str
    """bpe, char, or the path of a tokenizer.json (bpe)."""
    vocab_size: int
    """Vocabulary of a BPE trained here (4096)."""
    seq_len: int
    """Tokens a row (256)."""
    document_mask: bool
    """Tokens attend within their own document only."""
    cache: str
    """Where token shards are kept (~/.cache/trueformer)."""


class OptimOptions(TypedDict, total=False):
    """The optimizer and its schedule."""

    optimizer: Literal["adamw", "muon", "adamuon"]
    """On hidden matrices; AdamW on the rest (muon)."""
    lr: float
    """One peak rate for every group; the four below go before it."""
    lr_matrices: float
    """Peak rate of hidden matrices."""
    lr_embeddings: float
    """Peak rate of embeddings."""
    lr_head: float
    """Peak rate of an untied head."""
    lr_vectors: float
    """Peak rate of norms and biases."""
    weight_decay: float
    """Decoupled decay of matrices, embeddings and head (0.1)."""
    bf16_updates: Literal["master", "stochastic"]
    """How bf16 parameters keep small updates (master)."""
    schedule: Literal["cosine", "linear", "constant", "wsd"]
    """The rate over the steps (linear)."""
    warmup_steps: int
    """Steps to the peak rate (a twentieth of all)."""
    final_factor: float
    """Share of the peak rate at the last step (0)."""


class LoopOptions(TypedDict, total=False):
    """The loop."""

    steps: int
    """Optimizer steps (20 tokens a parameter, at most 8 passes over the data)."""
    batch_size: int
    """Rows an optimizer step sees, over all processes (about 4 × depth)."""
    micro_batch_size: int
    """Rows a forward pass sees."""
    seed: int
    """Of weights, data order and dropout (1337)."""
    precision: Literal["float32", "bf16"]
    """What is computed in (bf16)."""
    parameters: Literal["float32", "bf16"]
    """What parameters are stored in (float32)."""
    compile: bool
    """torch.compile (where it pays)."""
    backend: Literal["fast", "plain"]
    """Fused kernels, or their readable twins (fast)."""
    device: str
    """auto, cpu, cuda, mps (auto)."""
    grad_clip: float
    """Largest global norm of the gradient (1)."""
    z_loss: float
    """Weight of the squared log-normaliser (0)."""
    label_smoothing: float
    """Probability spread over all tokens (0)."""
    eval_every: int
    """Steps between evaluations (a tenth of all)."""
    eval_batches: int
    """Batches an evaluation sees (the whole validation split)."""
    checkpoint_every: int
    """Steps between checkpoints (a fifth of all)."""
    keep_last: int
    """Checkpoints kept besides the best (2)."""
    sample_every: int
    """Steps between samples (only at the end)."""
    sample_prompt: str
    """What samples go on from."""
    patience: int
    """Stop after so many evaluations without a better validation loss."""
    max_bad_steps: int
    """Stop after so many non-finite steps in a row (10)."""
    watch_gradients: int
    """Write gradient norms and update ratios by layer every so many steps."""
    track: tuple[Literal["tensorboard", "trackio", "wandb"], ...]
    """Trackers to report to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """Train a model on text: a named corpus, a file, a folder or a glob.

    Try:
      trueformer train shakespeare --depth 4
      trueformer train notes/ --depth 6 --out runs/notes
      trueformer train shakespeare --resume
      trueformer train 'src/**/*.py' --preset gpt2 --dry-run
      torchrun --nproc-per-node 2 -m trueformer train shakespeare
    """

    source: tyro.conf.Positional[str] = "shakespeare"
    """A named corpus (see `trueformer data list`), a file, a folder or a glob."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """The run folder (runs/ and the source's name)."""
    depth: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """The one dial: layers, from which width, heads, batch, rates and horizon follow (4)."""
    preset: Literal["gpt2", "llama3", "qwen3", "smollm2"] | None = None
    """A well-known shape instead of --depth."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the run in the folder, exactly where it was saved."""
    start_from: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Begin from a copy of another run or checkpoint folder."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Throw away the run that is in the folder."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the resolved configuration, parameters, FLOPs and memory, and stop."""
    prove_resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Train a few steps straight and with a kill in the middle; compare every tensor bit for bit."""
    prove_every_variant: tyro.conf.FlagCreatePairsOff[bool] = False
    """The same with every optimizer, in float32 and bf16, eager and compiled: twelve proofs."""
    model: ModelOptions = field(default_factory=ModelOptions)
    data: DataOptions = field(default_factory=DataOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    loop: LoopOptions = field(default_factory=LoopOptions)

    def run(self) -> int:
        """Train, show what would be trained, or prove that resuming is exact; returns the exit code."""
        refuse_contradictions(self)
        config = resumed_config(self) if self.resume else resolve(self)
        if self.dry_run:
            return show_plan(config)
        if self.prove_resume or self.prove_every_variant:
            return _prove(config, every_variant=self.prove_every_variant)
        return _train(config, self)

    @property
    def folder(self) -> Path:
        """Where the run is written."""
        return self.out or Path("runs") / (Path(self.source.rstrip("/*")).stem or "text")


def _train(config: RunConfig, options: Train) -> int:
    from trueformer.training.run import train

    show_summary(config)
    result = train(
        config, options.folder, resume=options.start_from or options.resume, overwrite=options.overwrite
    )
    show_result(result)
    return result.exit_code


def _prove(config: RunConfig, *, every_variant: bool) -> int:
    from trueformer.training.resume_proof import prove_resume, variants

    different = 0
    for title, variant in variants(config) if every_variant else [("this configuration", config)]:
        with tempfile.TemporaryDirectory(prefix="prove-resume-") as workdir:
            report = prove_resume(variant, Path(workdir))
        print(f"{title}: {'identical' if report.identical else 'DIFFERENT'}; {report}", flush=True)
        different += not report.identical
    return 1 if different else 0


def refuse_contradictions(options: Train) -> None:
    """Raise ValueError naming two options that cannot both be meant."""
    given = {
        "--depth": options.depth is not None,
        "--preset": options.preset is not None,
        "--n-layers": "n_layers" in options.model,
        "--resume": options.resume,
        "--start-from": options.start_from is not None,
        "--overwrite": options.overwrite,
        "--dry-run": options.dry_run,
        "--prove-resume": options.prove_resume,
        "--prove-every-variant": options.prove_every_variant,
    }
    pairs = [
        ("--depth", "--preset"),
        ("--depth", "--n-layers"),
        ("--resume", "--depth"),
        ("--resume", "--preset"),
        ("--resume", "--start-from"),
        ("--resume", "--overwrite"),
        ("--resume", "--prove-resume"),
        ("--dry-run", "--prove-resume"),
        ("--start-from", "--prove-resume"),
        ("--prove-resume", "--prove-every-variant"),
        ("--dry-run", "--prove-every-variant"),
        ("--resume", "--prove-every-variant"),
        ("--start-from", "--prove-every-variant"),
    ]
    for one, other in pairs:
        if given[one] and given[other]:
            raise ValueError(f"{one} and {other} contradict each other: give one of them")


def resolve(options: Train) -> RunConfig:
    """The configuration of a new run; prepares the data, since vocabulary and horizon follow from it.

    Raises:
        ValueError: a value that cannot work, or data that cannot be read.
    """
    from trueformer.data.shards import prepare

    data = DataConfig(source=options.source, **options.data)
    prepared = prepare(data)
    shape: dict[str, Any] = {"vocab_size": prepared.tokenizer.vocab_size, **options.model}
    if options.preset:
        model = PRESETS[options.preset](**shape)
    else:
        depth = shape.pop("n_layers", None) or (DEPTH if options.depth is None else options.depth)
        model = depth_model(depth, **{"max_len": data.seq_len, **shape})
    optim, schedule = split_optim(options.optim)
    return depth_run(
        model, data, train_tokens=prepared.train.n_tokens, optim=optim, schedule=schedule, loop=options.loop
    )


def resumed_config(options: Train) -> RunConfig:
    """The configuration saved with the run, what was given on top; training refuses what may not change."""
    from trueformer.training.run_folder import saved_config

    saved = saved_config(options.folder)
    if not isinstance(saved, RunConfig):
        raise ValueError(f"{options.folder} was fine-tuned: resume it with `trueformer finetune --resume`")
    optim, schedule = split_optim(options.optim)
    return dataclasses.replace(
        saved,
        model=dataclasses.replace(saved.model, **options.model),
        data=dataclasses.replace(saved.data, **options.data),
        optim=dataclasses.replace(saved.optim, **optim),
        schedule=dataclasses.replace(saved.schedule, **schedule),
        loop=dataclasses.replace(saved.loop, **options.loop),
    )


def split_optim(options: OptimOptions) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of OptimConfig and of ScheduleConfig. `lr` stands for every group's rate that is not given."""
    optim: dict[str, Any] = dict(options)
    schedule = {key: optim.pop(key) for key in ("warmup_steps", "final_factor") if key in optim}
    if "schedule" in optim:
        schedule["kind"] = optim.pop("schedule")
    if "optimizer" in optim:
        optim["name"] = optim.pop("optimizer")
    if "lr" in optim:
        lr = optim.pop("lr")
        optim = {f"lr_{group}": lr for group in ("matrices", "embeddings", "head", "vectors")} | optim
    return optim, schedule
