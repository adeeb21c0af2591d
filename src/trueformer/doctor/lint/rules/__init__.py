"""The source rules, one file a theme. Importing this package enters them all."""

from trueformer.doctor.lint.rules import (
    attention,
    data,
    evaluation,
    gradients,
    loading,
    logs,
    modules,
    optimizers,
    sampling,
    saving,
    tokenizers,
)

__all__ = [
    "attention",
    "data",
    "evaluation",
    "gradients",
    "loading",
    "logs",
    "modules",
    "optimizers",
    "sampling",
    "saving",
    "tokenizers",
]
