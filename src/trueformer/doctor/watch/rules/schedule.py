"""Whether a learning-rate schedule moves once an update, after it."""

from dataclasses import dataclass, field

from torch import Tensor

from trueformer.doctor.watch.owners import Owner
from trueformer.doctor.watch.place import place
from trueformer.doctor.watch.rule import Rule
from trueformer.laws.law import Law, write


@dataclass(kw_only=True, slots=True)
class _Seen:
    """Of one optimizer's schedule."""

    early: list[str] = field(default_factory=list)  # places of calls before the first step
    after_backward: str = ""  # the place of such a call, with a backward before it
    between: int = 0  # backward passes that had been added up when it moved first since the last step
    between_at: str = ""
    often: int = 0  # steps in a row in which it moved between micro-batches


class ScheduleOrder(Rule):
    """Judges live/schedule-order."""

    law = write(
        Law(
            id="live/schedule-order",
            statement=(
                "A schedule moves after the optimizer's step, and not between the micro-batches of one step."
            ),
            source=(
                "torch.optim.lr_scheduler: scheduler.step() follows optimizer.step(); rates are a function "
                "of updates."
            ),
            looks="Sees every step of a schedule with the gradients that wait for an update at that time.",
            tolerance="Exact; once an epoch is legal, and so is advancing a schedule when a run is resumed.",
            symptoms=(
                "The first rate is never used; warmup and decay end k times too early under accumulation."
            ),
            causes="scheduler.step() at the top of the loop, or inside the loop over micro-batches.",
            lesson="With 8 micro-batches a step, a warmup meant for 800 updates is over after 100.",
        )
    )
    unjudged = "no schedule of torch moved"

    def prepare(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def schedule_steps(self, owner: Owner) -> None:
        self.judged += 1
        seen, at = self._seen.setdefault(id(owner), _Seen()), place()
        pending = owner.gradients.pending
        if owner.steps + owner.skipped == 0:
            seen.early.append(at)
            if pending:
                seen.after_backward = at
        elif seen.early.count(at) == 1:
            self._too_early(at)
            seen.early.clear()
        if pending and not seen.between:
            seen.between, seen.between_at = pending, at

    def _too_early(self, at: str) -> None:
        self.broke("the schedule moved before the optimizer's first step", measured=1, bound=0, at=at)

    def backward_begins(self, roots: tuple[Tensor, ...]) -> None:
        for owner in self.run.all_owners():
            if id(owner) in self._seen and owner.gradients.pending == 0:
                self._seen[id(owner)].between = 0

    def step_begins(self, owner: Owner) -> None:
        seen = self._seen.get(id(owner))
        if seen is None:
            return
        if seen.after_backward and owner.steps + owner.skipped == 0:
            self._too_early(seen.after_backward)
            seen.early.clear()
        moved_between = 0 < seen.between < owner.gradients.pending
        seen.often = seen.often + 1 if moved_between else 0
        seen.between = 0
        if seen.often >= 2:  # once can be the end of an epoch
            self.broke(
                f"the schedule moves between the {owner.gradients.pending} micro-batches of a step",
                measured=owner.gradients.pending,
                bound=1,
                at=seen.between_at,
            )
