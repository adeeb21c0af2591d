"""A live rule: it hears what the script does, and says where its law broke.

Every method below is an event; a rule overrides those it needs. An event is heard in the script's own stack,
so the place of the offending call is known. What a rule cannot judge it leaves alone, and its law is then
reported as not applicable, with the reason in `unjudged`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trueformer.doctor.watch.owners import Owner
from trueformer.doctor.watch.place import place
from trueformer.doctor.watch.run import CrossEntropy, Forward, Run
from trueformer.laws.law import Evidence, Law


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """A law broke: at which step, where in the script's source, and what was seen."""

    law: Law
    step: int
    place: str
    evidence: Evidence


class Rule:
    """Judges one law; `tell` is called with every break."""

    law: ClassVar[Law]
    unjudged: ClassVar[str] = "nothing of the kind happened"

    def __init__(self, run: Run, tell: Callable[[Break], None]) -> None:
        self.run = run
        self.judged = 0
        self._tell = tell
        self.prepare()

    def prepare(self) -> None:
        """Make what the rule remembers between events."""

    def broke(
        self,
        saw: str,
        *,
        measured: int | float,
        bound: int | float,
        where: str = "",
        step: int | None = None,
        at: str | None = None,
        at_least: bool = False,
    ) -> None:
        """Say that the law broke: now and here, unless another step or place is given."""
        evidence = Evidence(
            measured=float(measured), bound=float(bound), where=where, saw=saw, at_least=at_least
        )
        step = self.run.step if step is None else step
        self._tell(Break(law=self.law, step=step, place=place() if at is None else at, evidence=evidence))

    def forward_begins(self, forward: Forward) -> None:
        """An outermost module is called."""

    def forward_ends(self, forward: Forward, output: object) -> None:
        """It has returned."""

    def cross_entropy(self, loss: CrossEntropy) -> None:
        """A cross-entropy was computed."""

    def backward_begins(self, roots: tuple[Tensor, ...]) -> None:
        """Gradients are about to be computed."""

    def backward_ends(self, roots: tuple[Tensor, ...]) -> None:
        """Gradients have been computed."""

    def clip_begins(self, parameters: list[Tensor], bound: object) -> None:
        """Gradients are about to be clipped."""

    def clip_ends(self, parameters: list[Tensor], bound: object, norm: object) -> None:
        """They have been; `norm` is what the clip returned."""

    def step_begins(self, owner: Owner) -> None:
        """An optimizer is about to step."""

    def step_ends(self, owner: Owner) -> None:
        """It has stepped. The count does not include this step yet."""

    def schedule_made(self, owner: Owner) -> None:
        """A schedule was built for an optimizer."""

    def schedule_steps(self, owner: Owner) -> None:
        """A schedule moves on."""

    def scaler_unscales(self, owner: Owner) -> None:
        """A gradient scaler has divided its scale out of the gradients."""

    def scaler_steps(self, owner: Owner, stepped: bool) -> None:
        """A gradient scaler has stepped an optimizer, or left the step out."""

    def scaler_updates(self, scale: float | None) -> None:
        """A gradient scaler has updated its scale, which is given where a close look is taken."""

    def finish(self) -> None:
        """The script has ended."""
