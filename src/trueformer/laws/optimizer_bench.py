"""A bench for optimizers: a copy of the owner's that holds small tensors in place of the parameters.

The rule, the groups and their settings are the owner's; only the tensors are cut to 16 by 16, so that a step takes no
time and can be taken in float64. An optimizer that keeps its state apart and so cannot be cut is copied whole.
"""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject
from trueformer.subject.twins import complete, share_parameters

SIDE = 16
FAILURES = (RuntimeError, TypeError, AttributeError, KeyError, ValueError, AssertionError, IndexError)
Gradient = Callable[[int, Tensor], Tensor | None]


def optimizers(subject: Subject) -> list[Any]:
    """The owner's optimizers: one, or several in a list."""
    given = subject.optimizer
    found = list(given) if isinstance(given, list | tuple) else [given]
    for optimizer in found:
        if not getattr(optimizer, "param_groups", None):
            raise NotApplicable(f"{type(optimizer).__name__} has no param_groups to look at")
    return found


def held(subject: Subject) -> list[Tensor]:
    """Every parameter in every group, as often as it is there."""
    return [p for o in optimizers(subject) for group in o.param_groups for p in group["params"]]


def names_of(subject: Subject) -> dict[int, str]:
    """The names of the model's parameters, by identity."""
    return {id(p): name for name, p in subject.model.named_parameters()}


def settings(group: dict[str, Any]) -> dict[str, float]:
    """The numbers of a group under one name each: lr, weight_decay, beta1, beta2, eps, momentum."""
    beta1, beta2 = group.get("betas") or (group.get("beta1"), group.get("beta2"))
    found = {
        "lr": group.get("initial_lr", group.get("lr")),
        "weight_decay": next((group[n] for n in ("weight_decay", "decay", "wd") if n in group), 0.0),
        "beta1": beta1, "beta2": beta2, "eps": group.get("eps"), "momentum": group.get("momentum"),
    }  # fmt: skip
    plain = (int, float, Tensor)  # Adafactor has a pair for its epsilon
    return {name: float(value) for name, value in found.items() if isinstance(value, plain)}


class Bench:
    """`parameters` are what `optimizer` now holds; `groups` gives each one's group and `names` its name."""

    def __init__(
        self, subject: Subject, owners: Any, dtype: torch.dtype | None, side: int | None = SIDE
    ) -> None:
        known = names_of(subject)
        self.originals = [p for group in owners.param_groups for p in group["params"]]
        self.names = [known.get(id(p), "a stranger") for p in self.originals]
        memo: dict[Any, Any] = {id(leaf): leaf for leaf in _state_tensors(owners)}
        views = share_parameters(self.originals, memo) if side is None else []
        for i, p in enumerate(self.originals if side is not None else []):
            memo[id(p)] = _cut(p, dtype, i, side or SIDE)
        self.optimizer = copy.deepcopy(owners, memo)
        complete(owners, self.optimizer, memo)
        del views
        getattr(self.optimizer, "state", {}).clear()
        for group in self.optimizer.param_groups:
            if "initial_lr" in group:
                group["lr"] = group["initial_lr"]

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The group of each parameter, as it is now."""
        return [group for group in self.optimizer.param_groups for _ in group["params"]]

    @property
    def parameters(self) -> list[Tensor]:
        """What the optimizer moves."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def set(self, **settings: Any) -> None:
        """Changes what every group says.

        Raises:
            NotApplicable: the groups are no more than a view, or do not have this.
        """
        for name, value in settings.items():
            for group in self.optimizer.param_groups:
                if name in group:
                    group[name] = value
            if any(group.get(name) != value for group in self.optimizer.param_groups):
                raise NotApplicable(f"{name} cannot be set in its param_groups")

    def step(self, gradient: Gradient) -> list[Tensor]:
        """One step with the gradients that `gradient` gives for (number, parameter); how far each one moved."""
        before = [p.detach().clone() for p in self.parameters]
        for i, p in enumerate(self.parameters):
            p.grad = gradient(i, p.detach()) if p.requires_grad else None
        self.optimizer.step()
        return [p.detach() - old for p, old in zip(self.parameters, before, strict=True)]


def _cut(parameter: Tensor, dtype: torch.dtype | None, number: int, side: int) -> nn.Parameter:
    small = parameter.detach()
    for axis in range(small.ndim):
        small = small.narrow(axis, 0, min(side, small.shape[axis]))
    small = small.to("cpu", dtype or small.dtype).clone(memory_format=torch.contiguous_format)
    if not small.any():
        small.normal_(std=0.1, generator=torch.Generator().manual_seed(number))
    return nn.Parameter(small, requires_grad=parameter.requires_grad)


def _state_tensors(optimizer: Any) -> list[Tensor]:
    state = getattr(optimizer, "state", {})
    return [leaf for leaf in tree_leaves(list(state.values())) if isinstance(leaf, Tensor)]


def bench(subject: Subject, owners: Any, dtype: torch.dtype | None = torch.float64) -> Bench:
    """A fresh bench for one of the owner's optimizers.

    Raises:
        NotApplicable: it cannot be stepped away from its model.
    """
    why: Exception | None = None
    for side in (SIDE, None):
        try:
            moves = Bench(subject, owners, dtype, side).step(noise)
        except FAILURES as error:
            why = error
            continue
        if any(change.any() for change in moves) or side is None:
            return Bench(subject, owners, dtype, side)
    raise NotApplicable(
        f"{type(owners).__name__} cannot be stepped apart from its model: {type(why).__name__}: {why}"
    ) from why


def benches(subject: Subject, dtype: torch.dtype | None = torch.float64) -> Iterator[Bench]:
    """A bench for each of the owner's optimizers."""
    for owners in optimizers(subject):
        yield bench(subject, owners, dtype)


def noise(number: int, parameter: Tensor, seed: int = 0) -> Tensor:
    """A random gradient, the same for the same number and seed."""
    generator = torch.Generator().manual_seed(1000 * seed + number)
    return torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)


def graded(number: int, parameter: Tensor) -> Tensor:
    """A gradient with one large singular value and equal small ones, whose signs are nearly all the same."""
    if parameter.ndim != 2:
        return torch.zeros_like(parameter)
    rank = min(parameter.shape)
    generator = torch.Generator().manual_seed(number)
    left, right = (torch.randn(n, rank, generator=generator, dtype=torch.float64) for n in parameter.shape)
    left[:, 0] = right[:, 0] = 1
    values = torch.full((rank,), 0.5 / rank**0.5, dtype=torch.float64)
    values[0] = 1
    return (torch.linalg.qr(left)[0] * values @ torch.linalg.qr(right)[0].T).to(parameter)


def kind_of(optimizer: Any, group: dict[str, Any]) -> str:
    """What a group is declared to be by its words or the optimizer's class: "muon", "adamuon", "adamw", "adam", "sgd"."""
    if isinstance(group.get("use_muon"), bool):
        return "muon" if group["use_muon"] else "adam"
    words = [str(group[k]).lower() for k in ("algorithm", "kind", "rule", "optimizer", "optim") if k in group]
    words += [type(optimizer).__name__.lower()]
    for word in words:
        if re.search(r"8bit|4bit|schedule|paged|mini|nadam|radam|sparse|adamax|fusedrow", word):
            return ""
        for kind in ("adamuon", "muon", "adamw", "adam", "sgd"):
            if kind in word:
                return kind
    return ""
