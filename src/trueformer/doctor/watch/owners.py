"""Who moves which parameters: a torch optimizer, or a loop that does it by hand.

A hand-written update is not seen when it happens. It is known at the next backward pass, from parameters
whose version torch has raised since the last one.
"""

import weakref
from collections.abc import Callable

from torch import Tensor
from torch.optim import Optimizer

from trueformer.doctor.watch.gradients import Gradients


class Owner:
    """A set of parameters that are moved together, and how often they were."""

    def __init__(self, optimizer: Optimizer | None = None) -> None:
        self.optimizer: Callable[[], Optimizer | None] = weakref.ref(optimizer) if optimizer else lambda: None
        self.by_hand = optimizer is None
        self.steps = 0
        self.backwards = 0  # of the whole run, when it stepped last
        self.skipped = 0  # updates that a gradient scaler left out
        self._parameters: list[Tensor] = []
        self.ids: set[int] = set()
        self._groups: list[list[Tensor]] = []
        self.gradients = Gradients([])
        self.refresh()

    @property
    def parameters(self) -> list[Tensor]:
        """All its parameters."""
        return self._parameters

    def refresh(self) -> None:
        """Read the optimizer's groups again where they have changed."""
        optimizer = self.optimizer()
        if optimizer is None:
            return
        groups = [group["params"] for group in optimizer.param_groups]
        if [len(group) for group in groups] != [len(group) for group in self._groups]:
            self._groups = [list(group) for group in groups]
            self.adopt([p for group in groups for p in group])

    def adopt(self, parameters: list[Tensor]) -> None:
        """Take these for its parameters."""
        self._parameters = parameters
        self.ids = {id(p) for p in parameters}
        self.gradients = Gradients(parameters)

    def rates(self) -> list[float]:
        """The learning rate of each group; none where a loop updates by hand."""
        optimizer = self.optimizer()
        return [float(group.get("lr", 1.0)) for group in optimizer.param_groups] if optimizer else []

    def rate_of(self) -> dict[int, float]:
        """The learning rate of each parameter, by identity."""
        return {id(p): rate for group, rate in zip(self._groups, self.rates(), strict=False) for p in group}

    def __repr__(self) -> str:
        optimizer = self.optimizer()
        name = type(optimizer).__name__ if optimizer else "updates by hand"
        return f"{name} of {len(self._parameters)} parameters"


class Hand(Owner):
    """Parameters of trained models that no torch optimizer holds, and their versions when last seen."""

    def __init__(self) -> None:
        self._versions: list[tuple[Tensor, int]] = []
        super().__init__()

    def remember(self) -> None:
        """Note the versions of those that have a gradient."""
        self._versions = [(p, p._version) for p in self._parameters if p.grad is not None]

    def moved(self) -> bool:
        """Whether any of these has changed since."""
        return any(p._version != version for p, version in self._versions)
