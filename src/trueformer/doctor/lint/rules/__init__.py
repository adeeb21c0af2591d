"""The source rules, one file a theme. Importing this package enters them all."""

from trueformer.doctor.lint.rules import (
    attention,
    checks,
    data,
    evaluation,
    gradients,
    layers,
    loading,
    logs,
    optimizers,
    sampling,
    saving,
    tensors,
    tokenizers,
    weights,
)

__all__ = [
    "attention",
    "checks",
    "data",
    "evaluation",
    "gradients",
    "layers",
    "loading",
    "logs",
    "optimizers",
    "sampling",
    "saving",
    "tensors",
    "tokenizers",
    "weights",
]
