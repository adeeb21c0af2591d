"""A few thousand entries of each parameter, evenly spaced: enough to see whether and how far it moves."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

MOST = 4096


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """Entries of one parameter before a step, and of its gradient."""

    parameter: Tensor
    before: Tensor
    gradient: Tensor


def entries(tensor: Tensor) -> Tensor:
    """At most `MOST` entries, a view where the tensor is contiguous."""
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, -(-flat.numel() // MOST))]


def take_samples(parameters: Sequence[Tensor]) -> list[Sample]:
    """Of all parameters with a dense gradient; sharded ones are left alone."""
    return [
        Sample(parameter=p, before=entries(p).clone(), gradient=entries(p.grad).clone())
        for p in parameters
        if p.grad is not None and not p.grad.is_sparse and not hasattr(p, "device_mesh")
    ]
