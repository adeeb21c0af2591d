"""What became of gradients between backward passes: cleared, added to, used by a step, added to once more.

Only `.grad` is looked at, never the calls that clear it, so every way of clearing counts: `zero_grad`, None,
zeros in place, a new tensor. A gradient is known again by its identity and its version, the counter torch
raises at each change in place; values are read only of the few that are about to be accused.
"""

from collections.abc import Sequence
from enum import Enum

import torch
from torch import Tensor

MOST = 64  # parameters looked at, evenly spaced: a look costs about 1 µs each
ACCUSED = 4  # whose values are read

Key = tuple[int, int]
NONE: Key = (0, -1)


class Grad(Enum):
    """The state of one parameter's gradient."""

    CLEAN = "cleared"
    FRESH = "of this step"
    USED = "a step was taken with it"
    STALE = "added to after a step was taken with it"


class Gradients:
    """The gradients of one optimizer's parameters; `pending` backward passes since they were cleared."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        stride = -(-len(parameters) // MOST) or 1
        self.parameters = list(parameters[::stride])
        self.states = [Grad.CLEAN] * len(self.parameters)
        self.pending = 0
        self.reached = 0  # backward passes that ever reached any of the parameters
        self.edited = (
            False  # something else than a backward pass or a clip changed them since they were cleared
        )
        self._seen = [_key(p) for p in self.parameters]
        self._accused: list[int] = []

    def look(self) -> None:
        """What happened outside: cleared gradients are noted, and those changed by hand are trusted."""
        changed = [i for i, p in enumerate(self.parameters) if _key(p) != self._seen[i]]
        gone = [i for i in changed if self.parameters[i].grad is None]
        edited = [i for i in changed if self.parameters[i].grad is not None]
        zeroed = self._zeroed(edited)
        changed_otherwise = set(edited) - set(zeroed)
        for i in [*gone, *zeroed]:
            self.states[i] = Grad.CLEAN
        for i in changed_otherwise:
            if self.states[i] is not Grad.STALE:
                self.states[i] = Grad.FRESH
        self.edited |= bool(changed_otherwise)
        self.note()
        if self.idle:
            self.pending, self.edited = 0, False

    @property
    def idle(self) -> bool:
        """Whether there is nothing that a step has not used."""
        return not any(state in (Grad.FRESH, Grad.STALE) for state in self.states)

    def _zeroed(self, edited: list[int]) -> list[int]:
        """Which of these hold only zeros. The smallest few are read; the others only where those differ."""
        smallest = sorted(edited, key=lambda i: self.parameters[i].numel())[:ACCUSED]
        zeros = [i for i in smallest if _zero(self.parameters[i])]
        if len(zeros) in (0, len(smallest)):
            return edited if zeros else []
        return [i for i in edited if _zero(self.parameters[i])]

    def before_backward(self) -> None:
        """Note which gradients a step has used already and nobody has cleared."""
        self.look()
        self._accused = []
        for i, state in enumerate(self.states):
            if state is Grad.USED and len(self._accused) < ACCUSED and not _zero(self.parameters[i]):
                self._accused.append(i)

    def after_backward(self) -> bool:
        """Note what the backward pass added to; whether it reached any of these parameters."""
        changed = [i for i, p in enumerate(self.parameters) if _key(p) != self._seen[i]]
        for i in changed:
            if i in self._accused:
                self.states[i] = Grad.STALE
            elif self.states[i] is not Grad.STALE:
                self.states[i] = Grad.FRESH
        self.note()
        self.pending += bool(changed)
        self.reached += bool(changed)
        return bool(changed)

    def after_step(self) -> None:
        """A step was taken with whatever gradients there are."""
        self.note()
        self.states = [Grad.CLEAN if key == NONE else Grad.USED for key in self._seen]
        self.pending, self.edited = 0, False

    def note(self) -> None:
        """Take the gradients as they are now for seen."""
        self._seen = [_key(p) for p in self.parameters]

    def stale(self) -> list[Tensor]:
        """Parameters whose gradient still holds that of an earlier step."""
        return [p for p, state in zip(self.parameters, self.states, strict=True) if state is Grad.STALE]

    def used(self) -> list[Tensor]:
        """Parameters whose gradient a step was taken with, unchanged since."""
        return [p for p, state in zip(self.parameters, self.states, strict=True) if state is Grad.USED]


def _key(parameter: Tensor) -> Key:
    grad = parameter.grad
    return NONE if grad is None else (id(grad), grad._version)


def _zero(parameter: Tensor) -> bool:
    """Whether a dense gradient holds only zeros; a sparse one is not read."""
    grad = parameter.grad
    return grad is None or (grad.layout is torch.strided and not bool(grad.count_nonzero()))
