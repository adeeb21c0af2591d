"""TensorBoard, Trackio and Weights & Biases as callbacks; each is imported when it is asked for.

A tracker that is not installed, or does not start, stops the run before its first step, with the remedy.
Once it has started it can no longer stop the run: its first failure is logged and it is left alone from
then on. Trackio and W&B cannot take back what a killed run sent beyond its last checkpoint; TensorBoard
hides it. Leaves out anything but numbers: figures, samples and checkpoints stay in the run folder.
"""

import importlib
import logging
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from trueformer.training.callbacks.protocol import Callback, Evaluate, Start, Step, Stop

logger = logging.getLogger(__name__)


@runtime_checkable
class Backend(Protocol):
    """One service: opened once, told numbers, closed."""

    def open(self, event: Start, run_id: str | None) -> str | None:
        """Start a run, or go on with `run_id`; returns the id to go on with, if there is one."""
        ...

    def log(self, values: dict[str, float], step: int) -> None:
        """Send numbers of one step by their names."""
        ...

    def close(self) -> None:
        """Send what is left, and end."""
        ...


class Tracker(Callback):
    """Sends losses, gradient norm, rate and speed to one service, on rank 0."""

    def __init__(self, name: str, backend: Backend) -> None:
        self.name = name
        self._backend = backend
        self._run_id: str | None = None
        self._open = False

    def on_start(self, event: Start) -> None:
        if event.rank == 0 and not self._open:
            self._run_id = self._backend.open(event, self._run_id)
            self._open = True

    def on_step(self, event: Step) -> None:
        """Send a step's numbers."""
        values = {
            "train/loss": event.loss,
            "train/grad_norm": event.grad_norm,
            "train/lr_factor": event.lr_factor,
            "train/tokens": event.tokens,
            "train/tokens_per_second": event.tokens_per_second,
        }
        self._try(lambda: self._backend.log(values, event.step))

    def on_evaluate(self, event: Evaluate) -> None:
        values = {"validation/loss": event.loss, "validation/bits_per_byte": event.bits_per_byte}
        self._try(lambda: self._backend.log(values, event.step))

    def on_stop(self, event: Stop) -> None:
        self._try(self._backend.close)
        self._open = False

    def state_dict(self) -> dict[str, Any]:
        return {"run_id": self._run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._run_id = state["run_id"]

    def _try(self, call: Callable[[], None]) -> None:
        if not self._open:
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001 - a service may fail in any way, and the run outlives it
            self._open = False
            logger.warning("%s failed and gets no more numbers of this run: %r", self.name, error)


class TensorBoard(Backend):
    """Event files in `RUN/tensorboard`."""

    def __init__(self) -> None:
        _need("tensorboard", "tensorboard")

    def open(self, event: Start, run_id: str | None) -> str | None:
        """Open the event file; steps that a resumed run takes again are hidden."""
        from torch.utils.tensorboard.writer import SummaryWriter

        # Steps from the purge step on are hidden: a resumed run writes them again.
        purge = event.step + 1 if event.step else None
        self._writer = SummaryWriter(log_dir=str(event.folder / "tensorboard"), purge_step=purge)
        return None

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class Trackio(Backend):
    """A local Trackio project named after the run folder's parent."""

    def __init__(self) -> None:
        self._trackio = _need("trackio", "trackio")

    def open(self, event: Start, run_id: str | None) -> str | None:
        """Start a run named after the folder, or go on with `run_id`; returns the name."""
        name = run_id or event.folder.name
        self._trackio.init(project="trueformer", name=name, config=event.config, resume="allow")
        return name

    def log(self, values: dict[str, float], step: int) -> None:
        self._trackio.log(values, step=step)

    def close(self) -> None:
        self._trackio.finish()


class WandB(Backend):
    """A Weights & Biases run in the project `trueformer`; its own settings decide on- or offline."""

    def __init__(self) -> None:
        self._wandb = _need("wandb", "wandb")

    def open(self, event: Start, run_id: str | None) -> str | None:
        """Start a run, or go on with that of `run_id`; returns its id."""
        self._run = self._wandb.init(
            project="trueformer",
            name=event.folder.name,
            dir=str(event.folder),
            config=event.config,
            id=run_id,
            resume="allow" if run_id else None,
        )
        return self._run.id

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


BACKENDS: dict[str, Callable[[], Backend]] = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}


def make_tracker(name: str) -> Tracker:
    """The tracker of that name.

    Raises:
        ValueError: no tracker has that name.
        ModuleNotFoundError: its package is not installed; names the command.
    """
    if name not in BACKENDS:
        raise ValueError(f"tracker is {name!r}: expected one of {', '.join(BACKENDS)}")
    return Tracker(name, BACKENDS[name]())


def _need(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ModuleNotFoundError(
            f"tracking with {module} needs a package that is not installed: pip install {package}"
        ) from error
