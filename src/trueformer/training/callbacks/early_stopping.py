"""Stop when the validation loss has stopped falling. Leaves out the training loss: it falls by memorising."""

import math
from typing import Any

from trueformer.training.callbacks.protocol import Callback, Control, Evaluate, Start


class EarlyStopping(Callback):
    """Asks for a stop after `patience` evaluations in a row without a new lowest validation loss."""

    name = "early_stopping"

    def __init__(self, *, patience: int) -> None:
        if patience < 1:
            raise ValueError(
                f"patience is {patience}: expected at least 1 evaluation, or none to never stop early"
            )
        self.patience = patience
        self.best_loss = math.inf
        self.waited = 0
        self._control: Control | None = None

    def on_start(self, event: Start) -> None:
        self._control = event.control

    def on_evaluate(self, event: Evaluate) -> None:
        """Count evaluations since the best one, and ask for the end when there were too many."""
        assert self._control is not None, "on_start comes first"
        if event.loss < self.best_loss:
            self.best_loss, self.waited = event.loss, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self._control.request_stop(
                f"validation loss has not fallen below {self.best_loss:.4f} in {self.waited} evaluations"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": None if self.best_loss == math.inf else self.best_loss, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
        self.waited = state["waited"]
