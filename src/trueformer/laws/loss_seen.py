"""Sees the logits that a loss scores: those a model gives as a whole, or those a loss makes of the model's parts.

A fused loss makes its logits inside, so that no module gives them; they are seen where they are turned into
probabilities. Shapes: B rows, T tokens, V vocabulary.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trueformer.subject.interface import read

SCORES = ("cross_entropy", "log_softmax", "softmax", "logsumexp")
Chosen = Callable[[tuple[int, ...]], Tensor] | None


class Passes:
    """What a model gives while a loss is computed: `logits` of each pass as a whole, and whether any of it `ran`.

    Where its module `head` gives the logits, `chosen` puts others in their place.
    """

    def __init__(self, model: nn.Module, head: str | None, chosen: Chosen) -> None:
        self.model, self.head, self.chosen = model, head, chosen
        self.ran, self._seen, self._made = False, [], []

    @property
    def logits(self) -> list[Tensor]:
        """Those that were put in place, where any were."""
        return self._made or self._seen

    def __enter__(self) -> "Passes":
        hooks = [self.model.register_forward_hook(self._notice, with_kwargs=True)]
        hooks += [module.register_forward_pre_hook(self._note) for module in self.model.modules()]
        if self.head is not None:
            hooks.append(self.model.get_submodule(self.head).register_forward_hook(self._swap))
        self._hooks = ExitStack()
        for hook in hooks:
            self._hooks.callback(hook.remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()

    def _note(self, module: nn.Module, args: Any) -> None:
        self.ran = True

    def _notice(self, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        ids = next(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor))
        self._seen.append(read(out, ids).logits)

    def _swap(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        assert self.chosen is not None
        self._made.append(self.chosen(tuple(out.shape)).to(out).requires_grad_())
        return self._made[-1]


class Scoring(TorchFunctionMode):
    """Notes the first logits (B, T, V) that are scored in its block; `chosen` puts others of that shape there."""

    def __init__(self, shape: tuple[int, ...], chosen: Chosen) -> None:
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
