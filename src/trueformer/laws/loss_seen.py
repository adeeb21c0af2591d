"""Sees the logits of a loss that runs the model in parts, where they are turned into probabilities.

A fused loss makes its logits inside, so that no module gives them. Shapes: B rows, T tokens, V vocabulary.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

SCORES = ("cross_entropy", "log_softmax", "softmax", "logsumexp")


class Scoring(TorchFunctionMode):
    """Notes the first logits (B, T, V) that are scored in its block; `chosen` puts others of that shape there."""

    def __init__(self, shape: tuple[int, ...], chosen: Callable[..., Tensor] | None) -> None:
        super().__init__()
        self.shape, self.chosen = shape, chosen
        self.logits: Tensor | None = None
        self._given: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.logits is None and getattr(func, "__name__", "") in SCORES and self._are_logits(args):
            self._given = args[0]
            made = args[0] if self.chosen is None else self.chosen(self.shape).to(args[0]).requires_grad_()
            self.logits = made.reshape(self.shape)
        if self._given is not None and self.logits is not None and args and args[0] is self._given:
            args = (self.logits.reshape(self._given.shape), *args[1:])
        return func(*args, **(kwargs or {}))

    def _are_logits(self, args: Any) -> bool:
        given = args[0] if args else None
        if not isinstance(given, Tensor) or given.ndim < 2:
            return False
        return given.shape[-1] == self.shape[-1] and given.numel() == math.prod(self.shape)

    def sees_all(self, loss: Any) -> bool:
        """Whether the loss reads its logits nowhere but where they were noted."""
        if self._given is None or self.logits is None or not self.logits.requires_grad:
            return False
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            return False
        both = [self._given, self.logits]
        given, noted = torch.autograd.grad(loss, both, retain_graph=True, allow_unused=True)
        return given is not None and noted is not None and torch.equal(given.reshape(self.shape), noted)
