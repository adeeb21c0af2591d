"""Copies of a model together with what holds on to its parameters: an optimizer, a schedule.

`copy.deepcopy` alone leaves two things behind. It gives each nn.Parameter a storage of its own, so that an optimizer
that keeps views of the parameters would move nothing of the copy; and torch.optim.Optimizer copies its groups and
state only, not what a subclass added.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn


def twins(model: nn.Module, *parts: Any) -> tuple[Any, ...]:
    """The model and these parts, copied together."""
    memo: dict[Any, Any] = {}
    views = share_parameters(model.parameters(), memo)
    copies = copy.deepcopy((model, *parts), memo)
    del views
    for part, twin in zip(parts, copies[1:], strict=True):
        complete(part, twin, memo)
    return copies


def share_parameters(parameters: Any, memo: dict[Any, Any]) -> list[Tensor]:
    """Enters copies whose storages a later deepcopy with this memo knows; keep what is returned till then."""
    views = []
    for parameter in parameters:
        if type(parameter) is nn.Parameter and not parameter.is_meta and id(parameter) not in memo:
            views.append(parameter.detach())
            copied = copy.deepcopy(views[-1], memo)
            memo[id(parameter)] = nn.Parameter(copied, requires_grad=parameter.requires_grad)
    return views


def complete(part: Any, twin: Any, memo: dict[Any, Any]) -> None:
    """Gives the copy of an optimizer, or of several in a list, the attributes that torch's own copying leaves out."""
    if isinstance(part, list | tuple):
        for one, other in zip(part, twin, strict=True):
            complete(one, other, memo)
    if isinstance(part, torch.optim.Optimizer):
        for name, value in vars(part).items():
            if name not in vars(twin) and not callable(value):
                setattr(twin, name, copy.deepcopy(value, memo))
