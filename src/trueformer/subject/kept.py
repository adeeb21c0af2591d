"""Keeps what belongs to the user, and puts it back bit for bit: tensors, gradients, modes, optimizer, random numbers."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def kept(model: nn.Module, optimizer: Any = None, schedule: Any = None) -> Iterator[None]:
    """Whatever happens inside, all of it is afterwards as it was before."""
    tensors = {id(t): (t, t.detach().clone()) for t in [*model.parameters(), *model.buffers()]}
    grads = [(p, p.grad, None if p.grad is None else p.grad.detach().clone()) for p in model.parameters()]
    asked = [(p, p.requires_grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    hidden = [(module, _attributes(module)) for module in model.modules()]
    of_optimizer = copy.deepcopy(optimizer.state_dict()) if hasattr(optimizer, "state_dict") else None
    of_schedule = copy.deepcopy(schedule.state_dict()) if hasattr(schedule, "state_dict") else None
    with random_numbers_kept():
        try:
            yield
        finally:
            _put_back(tensors, grads, asked, modes, hidden)
            if of_optimizer is not None and not equal(optimizer.state_dict(), of_optimizer):
                _restore_optimizer(optimizer, of_optimizer)
            if of_schedule is not None and not equal(schedule.state_dict(), of_schedule):
                schedule.load_state_dict(of_schedule)


def _attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Each attribute, and what is in it where it is a collection that could be changed in place."""
    return {
        name: (value, copy.copy(value) if isinstance(value, dict | list | set) else None)
        for name, value in module.__dict__.items()
    }


def _fill(collection: Any, contents: Any) -> None:
    """Others may hold the same collection, so it stays the one it was."""
    if isinstance(collection, list):
        collection[:] = contents
    elif isinstance(collection, dict | set):
        collection.clear()
        collection.update(contents)


def _put_back(tensors: Any, grads: Any, asked: Any, modes: Any, hidden: Any) -> None:
    for module, attributes in hidden:
        module.__dict__.clear()
        module.__dict__.update({name: value for name, (value, _) in attributes.items()})
        for value, contents in attributes.values():
            _fill(value, contents)
    for module, training in modes:
        module.training = training
    with torch.no_grad():
        for tensor, before in tensors.values():
            _put_back_data(tensor, before)
    for parameter, wanted in asked:
        parameter.requires_grad_(wanted)
    for parameter, grad, before in grads:
        if grad is not None:
            _put_back_data(grad, before)
        parameter.grad = grad


def _put_back_data(tensor: Tensor, before: Tensor) -> None:
    """Into the same memory where it still fits, which others may share."""
    if (tensor.device, tensor.dtype, tensor.shape) == (before.device, before.dtype, before.shape):
        tensor.data.copy_(before)
    else:
        tensor.data = before


def _restore_optimizer(optimizer: Any, state: dict[str, Any]) -> None:
    if not state.get("state"):
        optimizer.state.clear()
    optimizer.load_state_dict(state)


@contextmanager
def random_numbers_kept() -> Iterator[None]:
    """Python's, numpy's and torch's random numbers go on afterwards as if nothing had been drawn."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
        if on_gpu:
            torch.cuda.set_rng_state_all(on_gpu)


@contextmanager
def without_autocast() -> Iterator[None]:
    """Meanwhile no autocast lowers anything: steps of other batches are then compared without bf16's rounding."""
    lower: Any = torch.set_autocast_enabled
    off: Any = lambda *given: lower(*given[:-1], False)  # noqa: E731 - a name for its type
    torch.set_autocast_enabled = off
    try:
        yield
    finally:
        torch.set_autocast_enabled = lower


def equal(one: Any, other: Any) -> bool:
    """Whether two nested states are the same, tensors bit for bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return same_bits(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(equal(*pair) for pair in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal, NaN with NaN too."""
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and bool(
            torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
            and torch.equal(one.isnan(), other.isnan())
        )
    )
