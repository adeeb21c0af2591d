"""Every source of randomness a run has: seed it, save it as JSON, put it back; and deterministic kernels.

Leaves out the data order, which is a function of three integers that the loader keeps. A state is valid on
the machine type and torch version that made it.
"""

import base64
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators (torch seeds all its devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture_rng() -> dict[str, Any]:
    """The generators' states as JSON: Python, NumPy, torch on the CPU and on the current CUDA device."""
    version, words, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)
    mt = numpy_state["state"]  # type: ignore[index,call-overload]
    return {
        "python": [version, list(words), gauss],
        "numpy": {
            "key": mt["key"].tolist(),  # type: ignore[index,call-overload]
            "pos": int(mt["pos"]),  # type: ignore[index,call-overload]
            "has_gauss": int(numpy_state["has_gauss"]),  # type: ignore[index,call-overload]
            "gauss": float(numpy_state["gauss"]),  # type: ignore[index,call-overload]
        },
        "torch": _to_text(torch.get_rng_state()),
        "cuda": [_to_text(torch.cuda.get_rng_state())] if torch.cuda.is_initialized() else [],
    }


def restore_rng(state: dict[str, Any]) -> None:
    """Put back what `capture_rng` gave; the CUDA state goes to the current device."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    mt = state["numpy"]
    key = np.array(mt["key"], dtype=np.uint32)
    np.random.set_state(("MT19937", key, mt["pos"], mt["has_gauss"], mt["gauss"]))
    torch.set_rng_state(_from_text(state["torch"]))
    for text in state["cuda"]:
        torch.cuda.set_rng_state(_from_text(text))


@contextmanager
def deterministic_kernels(device: torch.device) -> Iterator[None]:
    """Choose kernels that give the same bits each time, within the block.

    The compiled embedding gradient otherwise adds with atomics, in an order that changes from run to run.
    On a GPU an operation without a deterministic kernel warns; on a CPU it raises.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    settings = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled()
    warn_before = torch.is_deterministic_algorithms_warn_only_enabled()
    fill_before = settings.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    settings.fill_uninitialized_memory = False  # type: ignore[attr-defined] # the fill only costs time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_before)
        settings.fill_uninitialized_memory = fill_before  # type: ignore[attr-defined]


def _to_text(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode("ascii")


def _from_text(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
