"""One optimizer object for a model: every group with its own rule and rate, one step counter, state saved by
name.

Parameters are updated in float32 whatever they are stored in: bf16 ones through a float32 master copy or by
stochastic rounding (see `precision`). State is keyed by parameter name, so it does not depend on the order of
construction, and the fast and plain backends read each other's. Leaves out clipping, schedules and anything
that computes a gradient.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from trueformer.optim.adamw import FusedAdamW
from trueformer.optim.config import OptimConfig
from trueformer.optim.groups import Named, parameter_groups
from trueformer.optim.muon import StackedMuon
from trueformer.optim.plain import PlainAdamW, PlainMuon
from trueformer.optim.precision import Precision

Backend = Literal["fast", "plain"]


@runtime_checkable
class Rule(Protocol):
    """Moves float32 tensors in place; `slots` holds its state, one tensor a parameter, in their order."""

    slots: dict[str, list[Tensor]]

    def update(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], *, lr: float, decay: float, step: int
    ) -> None:
        """Take the 1-based optimizer step `step` at rate `lr`, with weights shrunk by lr · decay."""
        ...


class Group:
    """One of the four parameter groups with its rule, peak rate and decay."""

    def __init__(
        self, name: str, members: list[Named], lr: float, decay: float, config: OptimConfig, backend: Backend
    ) -> None:
        self.name, self.lr, self.decay = name, lr, decay
        self.names = [name for name, _ in members]
        self.parameters = [parameter for _, parameter in members]
        self.algorithm = _algorithm(name, config)
        self.rule = _rule(self.algorithm, self.parameters, config, backend)
        self.precision = Precision(self.parameters, config.bf16_updates)

    @torch.no_grad()
    def step(self, lr_factor: float, step: int) -> None:
        """Take optimizer step number `step`, counted from 1."""
        for name, parameter in zip(self.names, self.parameters, strict=True):
            if parameter.grad is None:
                raise ValueError(
                    f"{name} has no gradient: call backward first, or freeze it before building the optimizer"
                )
        values = self.precision.values()
        gradients = [p.grad.float() for p in self.parameters]  # type: ignore[union-attr]
        self.rule.update(values, gradients, lr=self.lr * lr_factor, decay=self.decay, step=step)
        self.precision.write(values, step)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that must be saved, by parameter name and slot, as views of the live state."""
        live = {
            f"{name}.{slot}": tensor
            for slot, tensors in self.rule.slots.items()
            for name, tensor in zip(self.names, tensors, strict=True)
        }
        return live | {f"{self.names[i]}.rest": rest for i, rest in self.precision.rests.items()}


class Optimizers:
    """All groups of a model, stepped together. `param_groups` is what a log wants to show."""

    def __init__(self, groups: list[Group], config: OptimConfig) -> None:
        self._groups, self._config = groups, config
        self.steps = 0

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Each group's name, rule with its numbers, peak rate, decay, parameter names and parameters."""
        return [
            {"name": g.name, "lr": g.lr, "decay": g.decay, "names": g.names, "params": g.parameters}
            | {"algorithm": g.algorithm, **_numbers(g.algorithm, self._config)}
            for g in self._groups
        ]

    def step(self, lr_factor: float = 1.0) -> None:
        """One optimizer step at `lr_factor` of each group's peak rate.

        Raises:
            ValueError: a parameter has no gradient.
        """
        for group in self._groups:
            group.step(lr_factor, self.steps + 1)
        self.steps += 1

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for group in self._groups:
            for parameter in group.parameters:
                parameter.grad = None

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Copies of the state as (tensors by name, JSON-ready values): enough to resume bit for bit."""
        tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in self._live()}
        return tensors, {"optimizer": self._config.name, "steps": self.steps}

    def load_state_dict(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, all or nothing.

        Raises:
            ValueError: another optimizer, a tensor missing, unknown, or of another shape or dtype; names it.
        """
        if scalars.get("optimizer") != self._config.name:
            raise ValueError(
                f"the saved state is of {scalars.get('optimizer')!r}, this run uses {self._config.name!r}: "
                "resume with the optimizer the run began with"
            )
        live = dict(self._live())
        _check_same(live, tensors)
        with torch.no_grad():
            for name, tensor in live.items():
                tensor.copy_(tensors[name])
        self.steps = int(scalars["steps"])

    def _live(self) -> list[tuple[str, Tensor]]:
        return [item for group in self._groups for item in group.tensors().items()]


def build_optimizer(model: nn.Module, config: OptimConfig, backend: Backend = "fast") -> Optimizers:
    """The optimizer of all trainable parameters of `model`; decay on matrices, embeddings and head only."""
    groups = []
    for name, members in parameter_groups(model).items():
        if members:
            decay = 0.0 if name == "vectors" else config.weight_decay
            groups.append(Group(name, members, getattr(config, f"lr_{name}"), decay, config, backend))
    return Optimizers(groups, config)


def _algorithm(group: str, config: OptimConfig) -> str:
    return config.name if group == "matrices" else "adamw"


def _numbers(algorithm: str, config: OptimConfig) -> dict[str, float]:
    if algorithm == "adamw":
        return {"beta1": config.beta1, "beta2": config.beta2, "eps": config.eps}
    return {"momentum": config.momentum}


def _rule(algorithm: str, parameters: Sequence[Tensor], config: OptimConfig, backend: Backend) -> Rule:
    if backend == "plain":
        return PlainAdamW(parameters, config) if algorithm == "adamw" else PlainMuon(parameters, config)
    return FusedAdamW(parameters, config) if algorithm == "adamw" else StackedMuon(parameters, config)


def _check_same(live: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    for name, tensor in live.items():
        if name not in saved:
            raise ValueError(f"the saved optimizer state lacks {name}: it is of another model or precision")
        there, here = saved[name], tensor
        if (there.shape, there.dtype) != (here.shape, here.dtype):
            raise ValueError(
                f"{name} is {tuple(there.shape)} {there.dtype} in the saved optimizer state, "
                f"expected {tuple(here.shape)} {here.dtype}: it is of another model or precision"
            )
    unknown = sorted(saved.keys() - live.keys())
    if unknown:
        raise ValueError(
            f"the saved optimizer state has {unknown[0]}, which this run does not: another model"
        )
