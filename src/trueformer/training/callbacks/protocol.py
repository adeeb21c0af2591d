"""What the loop tells its callbacks, and what they may ask of it.

The loop's order in one step:

    gradients of all micro-batches → on_gradients → clip → optimizer → on_step
    → (every `eval_every` steps) evaluate → on_evaluate
    → if control.save_requested: collect_state, save on rank 0 → on_checkpoint
    → if control.stop_reason: leave

so that a checkpoint holds what every callback learnt up to its own step, and a resumed run repeats nothing.
`on_stop` is called once, whatever ended the run, an exception included. Hooks run on every rank, since a
save and a stop concern all of them; a callback that writes looks at `Start.rank`.

Leaves out changing the model or the gradients: a callback watches.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn


@dataclass(kw_only=True, slots=True)
class Control:
    """What callbacks ask of the loop, which looks after each step's hooks and clears `save_requested`."""

    save_requested: bool = False
    stop_reason: str | None = None

    def request_save(self) -> None:
        """Ask for a checkpoint of this step."""
        self.save_requested = True

    def request_stop(self, reason: str) -> None:
        """The first reason given is the one that is reported."""
        self.stop_reason = self.stop_reason or reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A run is about to take its first step, or its first since it was resumed."""

    folder: Path  # the run folder; it exists
    step: int  # optimizer steps taken before: 0, unless resumed
    steps: int  # optimizer steps in the whole run
    model: nn.Module  # without wrappers, so that parameter names are the model's own
    config: dict[str, Any]  # the RunConfig, as JSON
    rank: int = 0
    control: Control = field(default_factory=Control)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One optimizer step was taken, or skipped because its loss was not finite."""

    step: int  # optimizer steps taken, this one included
    steps: int
    loss: float  # nats a target token, over the whole global batch
    lr_factor: float  # what the schedule multiplied the learning rates by
    grad_norm: float  # of all gradients together, before clipping
    tokens: int  # target tokens since step 0, over all ranks
    tokens_per_second: float  # over all ranks, this step
    seconds: float  # wall time of this step
    skipped: bool = False  # the loss or gradient was not finite: nothing was updated


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluate:
    """The validation split was measured. Equal on every rank."""

    step: int
    loss: float  # nats a target token
    bits_per_byte: float
    tokens: int  # target tokens trained on since step 0 (the figure's other axis)
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """A checkpoint was written and is complete on disk."""

    step: int
    path: Path
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """The run is over: finished, stopped, interrupted or failed."""

    step: int
    reason: str
    failed: bool = False  # an exception is on its way


@runtime_checkable
class Callback(Protocol):
    """Inherit and override what is needed; hooks left alone do nothing."""

    name: str  # key of this callback's state in a checkpoint: unique within a run

    def on_start(self, event: Start) -> None:
        """Before the first step."""
        return

    def on_gradients(self, step: int) -> None:
        """Gradients of optimizer step `step` (1-based) are complete, averaged over ranks, not clipped yet."""
        return

    def on_step(self, event: Step) -> None:
        """After each step, taken or skipped."""
        return

    def on_evaluate(self, event: Evaluate) -> None:
        """After each look at the validation split."""
        return

    def on_checkpoint(self, event: Saved) -> None:
        """After each checkpoint."""
        return

    def on_stop(self, event: Stop) -> None:
        """Once, at the end, whatever brought it."""
        return

    def state_dict(self) -> dict[str, Any]:
        """What must survive a resume, as JSON; empty when nothing must."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Called before `on_start` when a run is resumed."""
        return


def collect_state(callbacks: Iterable[Callback]) -> dict[str, dict[str, Any]]:
    """Every callback's state by its name, for a checkpoint's state.json."""
    states: dict[str, dict[str, Any]] = {}
    for callback in callbacks:
        assert callback.name not in states, f"two callbacks are named {callback.name!r}"
        states[callback.name] = callback.state_dict()
    return states


def restore_state(callbacks: Iterable[Callback], states: dict[str, dict[str, Any]]) -> None:
    """Give each callback the state saved under its name; one that was not there before starts fresh."""
    for callback in callbacks:
        if callback.name in states:
            callback.load_state_dict(states[callback.name])
