"""Sees the logits of a loss that runs the model in parts, where they are turned into probabilities.

A fused loss makes its logits inside, so that no module gives them. Shapes: B rows, T tokens, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

SCORES = ("cross_entropy", "log_softmax", "softmax", "logsumexp")


class Scoring(TorchFunctionMode):
    """Notes the first logits (B, T, V) that are scored in its block; `chosen` puts others of that shape there."""

    def __init__(self, shape: tuple[int, ...], chosen: Callable[[tuple[int, ...]], Tensor] | None) -> None:
        super().__init__()
        self.shape, self.chosen = shape, chosen
        self.logits: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (
            self.logits is None
            and getattr(func, "__name__", "") in SCORES
            and args
            and self._are_logits(args[0])
        ):
            given = args[0]
            made = given if self.chosen is None else self.chosen(self.shape).to(given).requires_grad_()
            self.logits = made.reshape(self.shape)
            args = (self.logits.reshape(given.shape), *args[1:])
        return func(*args, **(kwargs or {}))

    def _are_logits(self, given: Any) -> bool:
        wide = isinstance(given, Tensor) and given.ndim > 1 and given.shape[-1] == self.shape[-1]
        return wide and given.shape.numel() == self.shape[0] * self.shape[1] * self.shape[2]
