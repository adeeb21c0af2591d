"""When a run is saved: every so many steps, and whenever the validation loss is the lowest so far.

Leaves out the saving itself: the loop does it, at the end of the step that asked for it.
"""

import math
from typing import Any

from trueformer.training.callbacks.protocol import Callback, Control, Evaluate, Saved, Start, Step
from trueformer.training.folders import checkpoint_path
from trueformer.training.retention import mark_best, prune


class KeepCheckpoints(Callback):
    """Asks for saves, marks the best one, and keeps the best and the last `keep_last` of a run."""

    name = "checkpoints"

    def __init__(self, *, every: int, keep_last: int) -> None:
        self.every = every
        self.keep_last = keep_last
        self.best_loss = math.inf
        self.best_step: int | None = None
        self._control: Control | None = None
        self._writes = False

    def on_start(self, event: Start) -> None:
        self._control, self._writes = event.control, event.rank == 0
        # A run killed between saving its best and marking it, or resumed from an older one, marks it again.
        if self._writes and self.best_step is not None:
            path = checkpoint_path(event.folder, self.best_step)
            if path.is_dir():
                mark_best(path, self.best_loss)

    def on_step(self, event: Step) -> None:
        if event.step % self.every == 0 or event.step == event.steps:
            self._ask()

    def on_evaluate(self, event: Evaluate) -> None:
        if event.loss < self.best_loss:
            self.best_loss, self.best_step = event.loss, event.step
            self._ask()

    def on_checkpoint(self, event: Saved) -> None:
        if not self._writes:
            return
        if event.step == self.best_step:
            mark_best(event.path, self.best_loss)
        prune(event.path.parent.parent, keep_last=self.keep_last)

    def state_dict(self) -> dict[str, Any]:
        return (
            {"best_loss": self.best_loss, "best_step": self.best_step} if self.best_step is not None else {}
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_loss, self.best_step = state.get("best_loss", math.inf), state.get("best_step")

    def _ask(self) -> None:
        assert self._control is not None, "on_start comes first"
        self._control.request_save()
