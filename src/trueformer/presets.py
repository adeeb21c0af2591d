"""Named shapes, and the one dial: `--depth` decides a whole run, every part of which can be overridden.

Leaves out torch and the data: functions here turn numbers into configurations.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from trueformer.data.config import ChatConfig, DataConfig
from trueformer.models.config import DecoderConfig, LoraConfig, RopeScaling
from trueformer.models.size import count_parameters
from trueformer.optim.config import OptimConfig, ScheduleConfig
from trueformer.training.config import FinetuneConfig, LoopConfig, RunConfig

HEAD_DIM = 64
BASE_RATE, BASE_WIDTH = 0.01, 256  # measured: docs/log.md
FINETUNE_RATE, LORA_RATE, FINETUNE_ROWS = 0.005, 0.002, 16  # measured: docs/log.md
TOKENS_PER_PARAMETER = 20  # compute-optimal (Hoffmann et al. 2022, arXiv 2203.15556)
MOST_PASSES = (
    8  # over the data; beyond about 4 each pass adds less (Muennighoff et al. 2023, arXiv 2305.16264)
)


def gpt2(*, vocab_size: int = 50_257, max_len: int = 1024, **overrides: Any) -> DecoderConfig:
    """GPT-2, 124M (Radford et al. 2019)."""
    shape: dict[str, Any] = {
        "d_model": 768,
        "n_layers": 12,
        "n_heads": 12,
        "positions": "learned",
        "norm": "layernorm",
        "norm_eps": 1e-5,
        "qk_norm": False,
        "feed_forward": "gelu_tanh",
        "attention_bias": True,
        "feed_forward_bias": True,
    }
    return _decoder(vocab_size, max_len, shape | overrides)


def llama3(*, vocab_size: int = 128_256, max_len: int = 131_072, **overrides: Any) -> DecoderConfig:
    """Llama 3.2 1B."""
    shape: dict[str, Any] = {
        "d_model": 2048,
        "n_layers": 16,
        "n_heads": 32,
        "n_kv_heads": 8,
        "d_ff": 8192,
        "rope_base": 500_000.0,
        "rope_scaling": RopeScaling(kind="llama3", factor=32.0, original_max_len=8192),
        "norm_eps": 1e-5,
        "qk_norm": False,
    }
    return _decoder(vocab_size, max_len, shape | overrides)


def qwen3(*, vocab_size: int = 151_936, max_len: int = 40_960, **overrides: Any) -> DecoderConfig:
    """Qwen3 0.6B."""
    shape: dict[str, Any] = {
        "d_model": 1024,
        "n_layers": 28,
        "n_heads": 16,
        "n_kv_heads": 8,
        "head_dim": 128,
        "d_ff": 3072,
        "rope_base": 1_000_000.0,
    }
    return _decoder(vocab_size, max_len, shape | overrides)


def smollm2(*, vocab_size: int = 49_152, max_len: int = 8192, **overrides: Any) -> DecoderConfig:
    """SmolLM2 135M."""
    shape: dict[str, Any] = {
        "d_model": 576,
        "n_layers": 30,
        "n_heads": 9,
        "n_kv_heads": 3,
        "d_ff": 1536,
        "rope_base": 100_000.0,
        "norm_eps": 1e-5,
        "qk_norm": False,
    }
    return _decoder(vocab_size, max_len, shape | overrides)


def _decoder(vocab_size: int, max_len: int, fields: dict[str, Any]) -> DecoderConfig:
    return DecoderConfig(vocab_size=vocab_size, max_len=max_len, **fields)


PRESETS: dict[str, Callable[..., DecoderConfig]] = {
    "gpt2": gpt2,
    "llama3": llama3,
    "qwen3": qwen3,
    "smollm2": smollm2,
}


def depth_model(depth: int, *, vocab_size: int, max_len: int, **overrides: Any) -> DecoderConfig:
    """The default decoder at `depth` layers: 64 · depth wide, heads of 64, two query heads a key head.

    Raises:
        ValueError: depth below 1, or an override that cannot work.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}: expected at least 1 layer")
    d_model = overrides.get("d_model", HEAD_DIM * depth)
    n_heads = overrides.get("n_heads", max(1, d_model // HEAD_DIM))
    shape: dict[str, Any] = {
        "d_model": d_model,
        "n_layers": depth,
        "n_heads": n_heads,
        "n_kv_heads": n_heads // 2 if n_heads % 2 == 0 else n_heads,
        "residual_init": "zero",
    }
    return _decoder(vocab_size, max_len, shape | overrides)


def depth_run(
    model: DecoderConfig,
    data: DataConfig,
    *,
    train_tokens: int,
    optim: Mapping[str, Any] | None = None,
    schedule: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
) -> RunConfig:
    """A whole run for `model`: batch, rates and horizon follow from its size, the data and the overrides.

    Rates fall with the square root of the width; the batch grows with depth; the horizon is 20 tokens a
    parameter or 8 passes over the data, whichever is less; a twentieth of it warms up and the rate then falls
    in a line.

    Raises:
        ValueError: an override that cannot work.
    """
    given: dict[str, Any] = dict(loop or {})
    batch_size = given.get("batch_size", 2 ** round(math.log2(4 * model.n_layers)))
    tokens = min(TOKENS_PER_PARAMETER * count_parameters(model).total, MOST_PASSES * train_tokens)
    steps = given.get("steps", max(100, round(tokens / (batch_size * data.seq_len))))
    rate = BASE_RATE * math.sqrt(BASE_WIDTH / model.d_model)
    rates: dict[str, Any] = {f"lr_{group}": rate for group in ("matrices", "embeddings", "head", "vectors")}
    curve: dict[str, Any] = {"kind": "linear", "warmup_steps": steps // 20}
    pace: dict[str, Any] = {
        "steps": steps,
        "batch_size": batch_size,
        "eval_every": max(1, steps // 10),
        "checkpoint_every": max(1, steps // 5),
    }
    return RunConfig(
        model=model,
        data=data,
        optim=OptimConfig(**(rates | dict(optim or {}))),
        schedule=ScheduleConfig(**(curve | dict(schedule or {}))),
        loop=LoopConfig(**(pace | given)),
    )


def finetune_run(
    model: DecoderConfig,
    data: ChatConfig,
    *,
    base: str,
    rows: int,
    epochs: float = 1.0,
    lora: LoraConfig | None = None,
    train_embedding: bool = True,
    optim: Mapping[str, Any] | None = None,
    schedule: Mapping[str, Any] | None = None,
    loop: Mapping[str, Any] | None = None,
) -> FinetuneConfig:
    """A fine-tuning run of `epochs` passes over `rows` packed rows; what is not given follows from the width.

    Raises:
        ValueError: an override that cannot work.
    """
    if not epochs > 0:
        raise ValueError(f"epochs is {epochs}: expected above 0")
    given: dict[str, Any] = dict(loop or {})
    batch_size = given.get("batch_size", FINETUNE_ROWS)
    steps = given.get("steps", max(1, round(epochs * rows / batch_size)))
    width = math.sqrt(BASE_WIDTH / model.d_model)
    rate = (LORA_RATE if lora else FINETUNE_RATE) * width
    rates: dict[str, Any] = {f"lr_{group}": rate for group in ("matrices", "embeddings", "head", "vectors")}
    rates |= {"name": "adamw" if lora else "muon", "weight_decay": 0.0}
    curve: dict[str, Any] = {"kind": "linear", "warmup_steps": steps // 20}
    pace: dict[str, Any] = {
        "steps": steps,
        "batch_size": batch_size,
        "eval_every": max(1, steps // 5),
        "checkpoint_every": max(1, steps // 2),
    }
    return FinetuneConfig(
        base=base,
        model=model,
        data=data,
        lora=lora,
        train_embedding=train_embedding,
        optim=OptimConfig(**(rates | dict(optim or {}))),
        schedule=ScheduleConfig(**(curve | dict(schedule or {}))),
        loop=LoopConfig(**(pace | given)),
    )
