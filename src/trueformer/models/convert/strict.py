"""All or nothing: a file's tensors must be exactly those the model has, name by name and shape by shape.

Leaves out any partial or best-effort loading.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

NAMED = 4  # how many differences an error lists


def check_names_and_shapes(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Compare what a model needs with what a file holds, before anything is read.

    Raises:
        ValueError: a name is missing, unexpected, or of another shape; lists the first ones.
    """
    wrong = [
        f"{name} is {'missing' if name not in found else list(found[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name not in found or tuple(found[name]) != tuple(shape)
    ]
    wrong += [
        f"{name} {list(found[name])} is not part of this model" for name in found if name not in expected
    ]
    if wrong:
        more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise ValueError(
            f"{where} does not fit its configuration: {'; '.join(wrong[:NAMED])}{more}. "
            "The weights and the configuration must come from the same model"
        )


def parameter_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every parameter's shape, a tied one once, under the name it is saved by."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


@torch.no_grad()
def fill(model: nn.Module, read: Callable[[str], Tensor]) -> None:
    """Copy `read(name)` into every parameter; the model keeps its own dtype and device."""
    for name, parameter in model.named_parameters():
        parameter.copy_(read(name))
