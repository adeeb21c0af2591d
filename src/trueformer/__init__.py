"""trueformer: train small transformer language models you can trust.

Public names are loaded on first use, so that importing the package stays under a second.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "DecoderConfig": "trueformer.models.config",
    "DecoderLM": "trueformer.models.decoder",
    "RunConfig": "trueformer.training.config",
    "SamplingConfig": "trueformer.inference.config",
    "check": "trueformer.doctor.check",
    "complete": "trueformer.inference.text",
    "generate": "trueformer.inference.generate",
    "load_model": "trueformer.load",
    "train": "trueformer.training.run",
}
__all__ = [
    "DecoderConfig",
    "DecoderLM",
    "RunConfig",
    "SamplingConfig",
    "check",
    "complete",
    "generate",
    "load_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trueformer' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
