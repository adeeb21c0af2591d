"""Whole runs as data: model, data, optimizer, schedule and loop. Saved with a run and its checkpoints."""

from dataclasses import dataclass, field
from typing import Literal

from trueformer.data.config import ChatConfig, DataConfig
from trueformer.models.config import DecoderConfig, LoraConfig
from trueformer.optim.config import OptimConfig, ScheduleConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """The training loop: how long, how much at once, how precisely, what is kept.

    Raises:
        ValueError: a number outside its meaning.
    """

    steps: int = 1000  # optimizer steps; the schedule's horizon
    batch_size: int = 16  # rows an optimizer step sees, over all processes and micro-batches
    micro_batch_size: int | None = None  # rows a forward pass sees; None: batch_size / processes
    seed: int = 1337
    precision: Literal["float32", "bf16"] = "bf16"  # bf16: autocast over float32 parameters
    parameters: Literal["float32", "bf16"] = "float32"  # how parameters are stored
    compile: bool | None = None  # None: where the time it saves exceeds the time it takes, see `compile_pays`
    backend: Literal["fast", "plain"] = "fast"  # plain: the readable twins, no fused kernels
    device: str = "auto"  # auto: CUDA, then Apple's MPS, then the CPU
    grad_clip: float | None = 1.0
    z_loss: float = 0.0
    label_smoothing: float = 0.0
    loss_chunk: int = 4096  # tokens whose logits exist at one time
    eval_every: int = 100
    eval_batches: int | None = None  # None: the whole validation split
    checkpoint_every: int = 250
    keep_last: int = 2
    sample_every: int = 0  # 0: only at the end
    sample_prompt: str = ""  # after BOS: empty starts a document
    sample_tokens: int = 200
    sample_temperature: float = 0.8  # 0: the most likely token each time
    patience: int | None = None  # evaluations without a better validation loss before stopping early
    max_bad_steps: int = 10  # consecutive steps with a non-finite loss or gradient before giving up
    watch_gradients: int = 0  # every so many steps, write gradient norms and update ratios by layer; 0: never
    track: tuple[str, ...] = ()  # of "tensorboard", "trackio", "wandb"

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "loss_chunk",
            "eval_every",
            "checkpoint_every",
            "keep_last",
            "max_bad_steps",
            "sample_tokens",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a whole number of at least 1")
        for name in ("eval_batches", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: expected a whole number of at least 1, or none")
        for name in ("seed", "sample_every", "watch_gradients", "z_loss", "sample_temperature"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 0 or more")
        if self.micro_batch_size is not None and (
            self.micro_batch_size < 1 or self.batch_size % self.micro_batch_size
        ):
            raise ValueError(
                f"micro_batch_size is {self.micro_batch_size}: "
                f"expected a divisor of batch_size = {self.batch_size}"
            )
        if self.grad_clip is not None and not self.grad_clip > 0:
            raise ValueError(f"grad_clip is {self.grad_clip}: expected a norm above 0, or none to not clip")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}: expected at least 0 and below 1")
        self._validate_precision()

    def _validate_precision(self) -> None:
        for name in ("precision", "parameters"):
            if getattr(self, name) not in ("float32", "bf16"):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}: expected 'float32' or 'bf16'; float16 overflows "
                    "without loss scaling and is a hundred times slower than bf16 on a CPU"
                )
        if self.parameters == "bf16" and self.precision == "float32":
            raise ValueError(
                "parameters are bf16 but precision is float32: bf16 parameters compute in bf16, "
                "so set precision = 'bf16' or parameters = 'float32'"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """What pretraining and fine-tuning share: the model, and how it is trained.

    Raises:
        ValueError: parts that contradict each other.
    """

    model: DecoderConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        if self.schedule.warmup_steps > self.loop.steps:
            raise ValueError(
                f"warmup_steps is {self.schedule.warmup_steps}, more than all {self.loop.steps} steps: "
                "the rate would never reach its peak"
            )

    def _check_rows(self, seq_len: int) -> None:
        if seq_len > self.model.max_len:
            raise ValueError(
                f"seq_len is {seq_len}, longer than the model's max_len = {self.model.max_len}: "
                "shorten the rows or raise max_len"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig(TrainConfig):
    """Everything that decides a run. Two runs with equal configs on one machine are bit-identical.

    Raises:
        ValueError: parts that contradict each other.
    """

    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        TrainConfig.__post_init__(self)  # super() does not work in a class remade for its slots
        self._check_rows(self.data.seq_len)


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig(TrainConfig):
    """Everything that decides a fine-tuning run: the same, from a base model and on conversations.

    Raises:
        ValueError: parts that contradict each other.
    """

    base: str  # what `load_model` was given
    data: ChatConfig
    lora: LoraConfig | None = None  # None: every weight is trained
    train_embedding: bool = True  # with lora: needed where special tokens were added

    def __post_init__(self) -> None:
        TrainConfig.__post_init__(self)
        self._check_rows(self.data.seq_len)
