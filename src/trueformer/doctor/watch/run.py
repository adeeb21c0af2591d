"""What is known of a running script: its optimizers and models, the step it is at, and its last events.

Steps are counted from 1 and are optimizer updates; optimizers that step after one backward pass, or in turns,
share the count of the one that is furthest. Rules read this and never change it.
"""

import weakref
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.optim import Optimizer

from trueformer.doctor.watch.models import Models
from trueformer.doctor.watch.owners import Hand, Owner
from trueformer.doctor.watch.place import place
from trueformer.doctor.watch.samples import Sample

EARLY = 5  # steps that are always looked at closely


@dataclass(kw_only=True, slots=True)
class Forward:
    """The call of an outermost module."""

    module: weakref.ref[nn.Module]
    training: bool
    builds_graph: bool


@dataclass(kw_only=True, slots=True)
class CrossEntropy:
    """A call of `cross_entropy`: its result is held weakly, so that no graph is kept alive."""

    value: weakref.ref[Tensor]
    classes: int
    reduction: str
    place: str
    number: float | None
    builds_graph: bool


@dataclass(kw_only=True)
class Run:
    """The state of the script; `every` is how often costly looks are taken."""

    every: int = 50
    owners: dict[int, Owner] = field(default_factory=dict)
    hand: Hand = field(default_factory=Hand)
    roots: "weakref.WeakSet[nn.Module]" = field(default_factory=weakref.WeakSet)  # called with a graph
    models: Models = field(init=False)
    forward: Forward | None = None  # the last one
    cross_entropy: CrossEntropy | None = None
    backwards: int = 0
    scale: float = 1.0  # of the last loss that a gradient scaler scaled
    scaling: bool = False  # a loss was scaled and the scale not updated yet
    samples: list[Sample] = field(default_factory=list)  # of the step under way, where a close look is taken
    _known: tuple[int, int] = (0, 0)
    _backwards_done: int = 0  # backward passes of all steps that were taken
    _past: int = 0  # steps of optimizers that are gone

    def __post_init__(self) -> None:
        self.models = Models(self.roots)

    @property
    def done(self) -> int:
        """Steps taken."""
        return max([self._past, self.hand.steps, *(owner.steps for owner in self.owners.values())])

    @property
    def step(self) -> int:
        """The step that is under way. It begins with its first backward pass, and ends where the next one does."""
        return self.done + (self.backwards > self._backwards_done or not self.done)

    def count_step(self, owner: Owner) -> None:
        """An owner has stepped. One that follows another without a backward pass takes part in the same step."""
        before = self.done
        owner.backwards = self.backwards
        owner.steps += 1
        if self.done > before:
            self._backwards_done = self.backwards

    @property
    def close_look(self) -> bool:
        """Whether costly looks are taken at this step."""
        return self.step <= EARLY or self.step % self.every == 0

    def owner(self, optimizer: Optimizer) -> Owner:
        """What is known of an optimizer, from now on at the latest."""
        known = self.owners.get(id(optimizer))
        if known is None or known.optimizer() is not optimizer:
            known = self.owners[id(optimizer)] = Owner(optimizer)
        known.refresh()
        return known

    def all_owners(self) -> list[Owner]:
        """Every optimizer that is alive, and the updates by hand."""
        for key in [key for key, owner in self.owners.items() if owner.optimizer() is None]:
            self._past = max(self._past, self.owners.pop(key).steps)
        return [*self.owners.values(), self.hand]

    def owner_of(self, parameter: Tensor) -> Owner | None:
        """Who moves this parameter; of several, the one that has stepped most."""
        owners = [owner for owner in self.all_owners() if id(parameter) in owner.ids]
        return max(owners, key=lambda owner: owner.steps, default=None)

    def adopt_free_parameters(self) -> None:
        """Give the hand what no optimizer holds, of the models that were called with a graph."""
        known = (len(self.roots), sum(len(owner.parameters) for owner in self.owners.values()))
        if known == self._known:
            return
        self._known = known
        held = {id(p) for owner in self.owners.values() for p in owner.parameters}
        free = [p for m in self.roots for p in m.parameters() if p.requires_grad and id(p) not in held]
        unique = {id(p): p for p in free}
        if unique.keys() != self.hand.ids:
            self.hand.adopt(list(unique.values()))

    def saw_cross_entropy(self, value: Tensor, classes: int, reduction: str) -> None:
        """Keep what rules want to know of the last cross-entropy."""
        near = self.close_look and reduction == "mean" and value.numel() == 1
        self.cross_entropy = CrossEntropy(
            value=weakref.ref(value),
            classes=classes,
            reduction=reduction,
            place=place() if near else "",
            number=float(value.detach()) if near else None,
            builds_graph=value.requires_grad,
        )
