"""Finds the norms of a model, by name or by what they do, and measures them alone.

A norm is a module with vectors at most as parameters that takes one tensor and gives one of the same shape; it is
called a norm, or its output does not change with the size of its input. Norms written inside a block's own forward
are not seen here: `norm/finite-stream` judges them from outside. Shapes: N rows, D the width.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

EPSILONS = ("eps", "epsilon", "variance_epsilon", "norm_eps", "layer_norm_eps", "layer_norm_epsilon")
BIG, BIGGER = 1e2, 1e3  # sizes of input at which no epsilon counts


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Norm:
    """One norm: where it is, a copy of it in the dtype of `exact`, and the shape of what it got in a pass."""

    path: str
    module: nn.Module
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def kind(self) -> str:
        """`rms` or `layer` where its name says which, else nothing.

        Some call an RMSNorm LayerNorm, as T5 does; a bias tells them apart.
        """
        name = type(self.module).__name__.lower()
        biased = any("bias" in name or name == "beta" for name, _ in self.module.named_parameters())
        if "rms" in name:
            return "rms"
        return "layer" if "layernorm" in name and biased else ""

    @property
    def eps(self) -> float | None:
        """Its epsilon, where it has an attribute of one of the usual names."""
        values = (getattr(self.module, name, None) for name in EPSILONS)
        return next((float(value) for value in values if isinstance(value, float | int) and value > 0), None)

    def copied(self, dtype: torch.dtype | None = None) -> nn.Module:
        """A copy to experiment on, in this dtype."""
        return copy.deepcopy(self.module).to(dtype or self.dtype)

    def random(self, size: float = 1.0, seed: int = 0, dtype: torch.dtype | None = None) -> Tensor:
        """Random input of this root mean square and of mean 0 in each row."""
        x = torch.randn(self.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        x = x - x.mean(-1, keepdim=True)
        x = x / x.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-9)
        return (size * x).to(dtype or self.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """What it makes of `x`, without gradients."""
        with torch.no_grad():
            return self.module(x)


def norms(subject: Subject) -> list[Norm]:
    """Every norm that ran.

    Raises:
        NotApplicable: there is none.
    """
    found = subject.once("norm_modules_found", lambda: _found(subject))
    if not found:
        raise NotApplicable("no module was seen that is a norm")
    return found


def _found(subject: Subject) -> list[Norm]:
    found = []
    for path, module in subject.exact.named_modules():
        shape = _shape(subject, path)
        if shape is None or not _small(module):
            continue
        dtype = subject.passed.inputs[path][0].dtype
        norm = Norm(path=path, module=copy.deepcopy(module).cpu(), shape=shape, dtype=dtype)
        if is_named(module) or _behaves(norm):
            found.append(norm)
    return found


def is_named(module: nn.Module) -> bool:
    """Whether its class is called a norm."""
    return "norm" in type(module).__name__.lower()


def _shape(subject: Subject, path: str) -> tuple[int, ...] | None:
    """The shape of the one tensor it got, where what it gave has that shape too."""
    given = subject.passed.inputs.get(path, [])
    gave = subject.passed.outputs.get(path, [None])[-1]
    if len(given) != 1 or not isinstance(gave, Tensor) or gave.shape != given[0].shape:
        return None
    floating = given[0].is_floating_point() and gave.is_floating_point()
    return tuple(gave.shape) if floating and gave.ndim >= 2 and gave.shape[-1] > 1 else None


def _small(module: nn.Module) -> bool:
    most = 2 if is_named(module) else 1  # a weight for each head and channel is a matrix
    return all(parameter.ndim <= most for parameter in module.parameters())


def _behaves(norm: Norm) -> bool:
    """Whether it gives the same at ten times the size, and something else for something else."""
    try:
        one, ten, other = norm(norm.random()), norm(norm.random(10.0)), norm(norm.random(seed=1))
    except Exception:  # noqa: BLE001 - a module that cannot be called alone is not one to measure alone
        return False
    size = one.abs().max()
    return bool((one - ten).abs().max() < 1e-3 * size and (one - other).abs().max() > 0.1 * size)


def worst(subject: Subject, measure: Callable[[Norm], float | None]) -> tuple[float, str]:
    """The largest measure of any norm, and where; NaN counts as larger than all.

    Raises:
        NotApplicable: none can be measured so.
    """
    measured = [(value, norm.path) for norm in norms(subject) if (value := measure(norm)) is not None]
    if not measured:
        raise NotApplicable("no norm was seen of which this can be said")
    return max(measured, key=lambda pair: (pair[0] != pair[0], pair[0]))


def normed(norm: Norm, x: Tensor) -> Tensor:
    """What it makes of `x` at weight one, its bias taken away, whether it multiplies by w or by 1 + w.

    That is the difference between weights one and weights zero.
    """
    module = norm.copied()
    parameters = list(module.parameters())
    with torch.no_grad():
        for parameter in parameters:
            parameter.zero_()
        plain = module(x)
        for parameter in parameters:
            parameter.fill_(1.0)
            difference = module(x) - plain
            parameter.zero_()
            if not _constant(difference):
                return difference
    return plain


def _constant(y: Tensor) -> bool:
    return bool((y - y.flatten()[0]).abs().max() <= 1e-9)
