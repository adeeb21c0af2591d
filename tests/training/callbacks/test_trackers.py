"""Trackers: opened once, told every number, never the end of a run; the services where installed."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from trueformer.training.callbacks.protocol import Start, Stop
from trueformer.training.callbacks.trackers import BACKENDS, Tracker, make_tracker

FINISHED = Stop(step=3, reason="finished")


class Notebook:
    """A service that keeps what it is told in memory, and breaks down when told to."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.opened: list[str | None] = []
        self.values: list[tuple[int, dict[str, float]]] = []
        self.closed = 0
        self.breaks_at = breaks_at

    def open(self, event: Start, run_id: str | None) -> str | None:
        self.opened.append(run_id)
        return run_id or "made-up-id"

    def log(self, values: dict[str, float], step: int) -> None:
        if self.breaks_at is not None and step >= self.breaks_at:
            raise ConnectionError("no route to host")
        self.values.append((step, values))

    def close(self) -> None:
        self.closed += 1


def run(events, tracker: Tracker, first: int = 1, last: int = 3) -> None:
    for step in range(first, last + 1):
        tracker.on_step(events.step(step))
    tracker.on_evaluate(events.evaluate(last, 1.5))


def test_t22_a_tracker_started_twice_makes_one_run(events):
    service = Notebook()
    tracker = Tracker("notebook", service)
    tracker.on_start(events.start())
    tracker.on_start(events.start())
    run(events, tracker)
    tracker.on_stop(FINISHED)
    tracker.on_stop(FINISHED)
    assert service.opened == [None]
    assert service.closed == 1
    assert [step for step, _ in service.values] == [1, 2, 3, 3]


def test_t22_a_resumed_run_goes_on_under_its_id(events):
    first = Tracker("notebook", Notebook())
    first.on_start(events.start())
    service = Notebook()
    again = Tracker("notebook", service)
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    again.on_start(events.start(step=2))
    assert service.opened == ["made-up-id"]


def test_t11_a_failing_tracker_is_logged_once_and_the_run_goes_on(events, caplog):
    service = Notebook(breaks_at=2)
    tracker = Tracker("notebook", service)
    tracker.on_start(events.start())
    with caplog.at_level(logging.WARNING):
        run(events, tracker, last=50)
        tracker.on_stop(FINISHED)
    assert [record.getMessage() for record in caplog.records] == [
        "notebook failed and gets no more numbers of this run: ConnectionError('no route to host')"
    ]
    assert [step for step, _ in service.values] == [1]
    assert service.closed == 0


def test_t24_no_handler_is_added_however_often_it_runs(events):
    before = list(logging.getLogger().handlers)
    for _ in range(3):
        tracker = Tracker("notebook", Notebook(breaks_at=1))
        tracker.on_start(events.start())
        run(events, tracker)
        tracker.on_stop(FINISHED)
    logger = logging.getLogger("trueformer.training.callbacks.trackers")
    assert logging.getLogger().handlers == before
    while logger.parent is not None:
        assert logger.handlers == []
        logger = logger.parent


def test_other_ranks_open_nothing(events):
    service = Notebook()
    tracker = Tracker("notebook", service)
    tracker.on_start(events.start(rank=1))
    run(events, tracker)
    tracker.on_stop(FINISHED)
    assert (service.opened, service.values, service.closed) == ([], [], 0)


def test_an_unknown_tracker_is_refused():
    with pytest.raises(ValueError, match="tracker is 'mlflow': expected one of tensorboard, trackio, wandb"):
        make_tracker("mlflow")


NOTHING_INSTALLED = """
import importlib.abc, sys
from trueformer.training.callbacks.trackers import BACKENDS, make_tracker

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in BACKENDS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for name in BACKENDS:
    try:
        make_tracker(name)
    except ModuleNotFoundError as error:
        print(error)
"""


def test_a_tracker_that_is_not_installed_names_the_command():
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_INSTALLED], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        f"tracking with {name} needs a package that is not installed: pip install {name}" for name in BACKENDS
    ], done.stderr


@pytest.mark.filterwarnings("ignore")  # the services' own
def test_tensorboard_has_every_number_once_after_a_resume(events):
    pytest.importorskip("tensorboard", reason="the track extra is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, last in ((0, 6), (4, 8)):  # killed at 6, resumed from the checkpoint of step 4
        tracker = make_tracker("tensorboard")
        tracker.on_start(events.start(step=first))
        run(events, tracker, first + 1, last)
        tracker.on_stop(FINISHED)
    read = EventAccumulator(str(events.folder / "tensorboard"))
    read.Reload()
    assert [event.step for event in read.Scalars("train/loss")] == list(range(1, 9))
    assert [event.step for event in read.Scalars("validation/loss")] == [8]
    assert read.Scalars("validation/bits_per_byte")[0].value == 0.75
    assert read.Scalars("train/tokens_per_second")[0].value == pytest.approx(1234.5)


@pytest.mark.filterwarnings("ignore")
def test_t22_trackio_makes_one_run_of_a_run_and_its_continuation(events, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(events.folder / "trackio"))
    trackio = pytest.importorskip("trackio", reason="the track extra is not installed")
    state = {"run_id": None}
    for first, last in ((0, 6), (4, 8)):
        tracker = make_tracker("trackio")
        tracker.load_state_dict(state)
        tracker.on_start(events.start(step=first))
        run(events, tracker, first + 1, last)
        tracker.on_stop(FINISHED)
        state = tracker.state_dict()
    assert [found.name for found in trackio.Api().runs("trueformer")] == [events.folder.name]


@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_a_run_offline(events, monkeypatch):
    pytest.importorskip("wandb", reason="the track extra is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker = make_tracker("wandb")
    tracker.on_start(events.start())
    run(events, tracker)
    tracker.on_stop(FINISHED)
    run_id = tracker.state_dict()["run_id"]
    assert run_id
    files = [path.name for path in Path(events.folder).rglob("*.wandb")]
    assert files == [f"run-{run_id}.wandb"]
