"""Where a run computes and how precisely: the device, bf16 autocast, bf16 parameters, whether to compile.

Leaves out float16 (it needs loss scaling, and a CPU has no fast kernels for it) and low-precision
optimizers' rounding, which is optim/'s.
"""

import shutil
import warnings
from contextlib import AbstractContextManager, nullcontext

import torch

from trueformer.training.config import LoopConfig

# Training FLOPs a layer from which compiling wins back what it costs. On a CPU core the first compiled step
# takes about 5 s a layer and later ones a sixth less than eager ones: 30 s of training a layer, near 200
# GFLOP/s, break even. The figure for GPUs is an estimate.
COMPILE_PAYS_FLOPS = {"cpu": 6e12, "cuda": 2e15}


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of that name; `auto` takes CUDA, MPS or the CPU. Raises ValueError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device is {name!r}: expected auto, cpu, cuda, cuda:0, … or mps") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device is {name!r}, but this torch sees no CUDA device: use auto or cpu")
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        torch.cuda.set_device(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device is 'mps', but this torch has no MPS: use auto or cpu")
    return device


def supports_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic runs natively on the device (every CPU runs it, fast or slow)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu"


def autocast(config: LoopConfig, device: torch.device) -> AbstractContextManager:
    """bf16 autocast where asked for and supported, else nothing; warns when the device cannot."""
    if config.precision == "float32":
        return nullcontext()
    if not supports_bf16(device):
        warnings.warn(f"precision bf16 is ignored: {device} has no bf16; training in float32", stacklevel=2)
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def parameter_dtype(config: LoopConfig) -> torch.dtype:
    """How parameters are stored."""
    return torch.bfloat16 if config.parameters == "bf16" else torch.float32


def compile_pays(loop: LoopConfig, flops: float, n_layers: int, device: torch.device) -> bool:
    """Whether to `torch.compile` a run of so many training FLOPs: as configured, or where it pays."""
    if loop.compile is not None:
        return loop.compile
    if loop.backend == "plain" or flops < n_layers * COMPILE_PAYS_FLOPS.get(device.type, float("inf")):
        return False
    return device.type != "cpu" or any(shutil.which(name) for name in ("g++", "clang++", "c++"))
