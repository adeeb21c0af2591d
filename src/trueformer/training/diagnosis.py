"""Why a step was not finite: which parameters, gradients and activations hold NaN or infinity, in words.

Runs only once training has given up, so it may be slow. Leaves out the remedy beyond the usual suspects.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class TrainingDiverged(RuntimeError):
    """`max_bad_steps` steps in a row had a non-finite loss or gradient; the message is the diagnosis."""


def non_finite(tensors: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity, with how many of their numbers do."""
    bad = {name: int((~tensor.isfinite()).sum()) for name, tensor in tensors.items()}
    return [f"{name} ({count} of {tensors[name].numel()})" for name, count in bad.items() if count]


@torch.no_grad()
def first_non_finite_activation(model: nn.Module, run: Callable[[], Any]) -> str | None:
    """The first module, in order of completion, whose output is not finite while `run()` runs the model."""
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple, output: Any) -> None:
            real = isinstance(output, Tensor) and output.is_floating_point()
            if real and not found and not bool(output.isfinite().all()):
                found.append(name)

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def diagnose(model: nn.Module, run: Callable[[], Any]) -> str:
    """What is not finite in `model`: parameters, then activations of `run()`, then gradients as they are."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    bad_parameters = non_finite(parameters)
    if bad_parameters:
        return f"non-finite parameters: {_some(bad_parameters)}. A former update overflowed: lower the rates"
    activation = first_non_finite_activation(model, run)
    if activation is not None:
        return f"parameters are finite; the first non-finite activation is {activation}'s output"
    bad_gradients = non_finite(gradients)
    if bad_gradients:
        return f"parameters and activations are finite; non-finite gradients: {_some(bad_gradients)}"
    return "parameters, activations and gradients of the last batch are finite: the loss itself overflowed"


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
