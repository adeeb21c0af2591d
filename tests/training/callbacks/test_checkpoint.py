"""When a run is saved, which one is the best, and what is kept; and when it stops early."""

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trueformer.training.callbacks.checkpoint import KeepCheckpoints
from trueformer.training.callbacks.early_stopping import EarlyStopping
from trueformer.training.callbacks.protocol import Control, Saved
from trueformer.training.checkpoints import latest_checkpoint, save_checkpoint
from trueformer.training.folders import checkpoint_path
from trueformer.training.retention import best_checkpoint, mark_best


def train(events, callback, validation: dict[int, float], first: int, last: int, **start) -> list[int]:
    """The loop's part: step, evaluate, save what was asked for; returns the steps that were saved."""
    control, saved = Control(), []
    callback.on_start(events.start(step=first, control=control, **start))
    for step in range(first + 1, last + 1):
        callback.on_step(events.step(step))
        if step in validation:
            callback.on_evaluate(events.evaluate(step, validation[step]))
        if control.save_requested:
            control.save_requested = False
            path = save_checkpoint(
                checkpoint_path(events.folder, step),
                model_tensors={"w": torch.tensor([float(step)])},
                optimizer_tensors={},
                state={"step": step, "callback": callback.state_dict()},
                config={},
                tokenizer=None,
            )
            callback.on_checkpoint(Saved(step=step, path=path, seconds=0.0))
            saved.append(step)
    return saved


def kept(events) -> list[int]:
    return sorted(int(p.name[5:]) for p in (events.folder / "checkpoints").glob("step-*"))


def test_saves_by_interval_and_at_each_lowest_validation_loss(events):
    callback = KeepCheckpoints(every=40, keep_last=2)
    validation = {10: 3.0, 20: 2.0, 30: 2.5, 50: 2.2, 60: 1.9, 90: 2.0}
    assert train(events, callback, validation, 0, 100) == [10, 20, 40, 60, 80, 100]
    assert kept(events) == [60, 80, 100]
    assert best_checkpoint(events.folder) == checkpoint_path(events.folder, 60)


def test_a_validation_loss_that_is_not_a_number_is_never_the_best(events):
    callback = KeepCheckpoints(every=100, keep_last=1)
    assert train(events, callback, {10: float("nan"), 20: 2.0, 30: float("nan")}, 0, 30) == [20]


def test_r18_the_best_is_remembered_through_a_resume(events):
    train(events, KeepCheckpoints(every=50, keep_last=2), {10: 1.0, 40: 2.0}, 0, 50)
    found = latest_checkpoint(events.folder)
    assert found is not None
    again = KeepCheckpoints(every=50, keep_last=2)
    again.load_state_dict(found.state["callback"])
    assert train(events, again, {60: 1.5, 70: 0.9}, 50, 100) == [70, 100]
    assert best_checkpoint(events.folder) == checkpoint_path(events.folder, 70)
    assert kept(events) == [70, 100]


def test_t8_killed_between_saving_the_best_and_marking_it(events):
    train(events, KeepCheckpoints(every=10, keep_last=2), {10: 2.0, 20: 1.0}, 0, 20)
    mark_best(checkpoint_path(events.folder, 10), 2.0)  # as it was before the save of step 20 was marked
    found = latest_checkpoint(events.folder)
    assert found is not None
    again = KeepCheckpoints(every=10, keep_last=2)
    again.load_state_dict(found.state["callback"])
    again.on_start(events.start(step=20))
    assert best_checkpoint(events.folder) == checkpoint_path(events.folder, 20)


def test_other_ranks_ask_for_the_same_saves_and_write_nothing(events):
    callback = KeepCheckpoints(every=40, keep_last=1)
    assert train(events, callback, {10: 3.0, 20: 2.0}, 0, 100, rank=1) == [10, 20, 40, 80, 100]
    assert kept(events) == [10, 20, 40, 80, 100]
    assert not (events.folder / "checkpoints" / "best.json").exists()


def stopped_at(callback: EarlyStopping, events, losses: list[float], first: int = 0) -> int | None:
    control = Control()
    callback.on_start(events.start(control=control))
    for number, loss in enumerate(losses, first + 1):
        callback.on_step(events.step(number, loss=1 / number))  # the training loss always falls
        callback.on_evaluate(events.evaluate(number, loss))
        if control.stop_reason:
            assert "validation loss" in control.stop_reason
            return number
    return None


def test_early_stopping_looks_at_validation_and_waits(events):
    assert stopped_at(EarlyStopping(patience=2), events, [3.0, 2.0, 2.1, 1.9, 1.9, 2.0, 1.0]) == 6
    assert stopped_at(EarlyStopping(patience=3), events, [3.0, 2.0, 2.1, 1.9, 1.9, 2.0, 1.0]) is None
    assert stopped_at(EarlyStopping(patience=2), events, [float("nan")] * 3) == 2


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(losses=st.lists(st.floats(0, 5), max_size=20), cut=st.integers(0, 20), patience=st.integers(1, 4))
def test_r18_early_stopping_resumed_stops_where_it_would_have(events, losses, cut, patience):
    straight = stopped_at(EarlyStopping(patience=patience), events, losses)
    first = EarlyStopping(patience=patience)
    cut = min(cut, len(losses))
    stopped = stopped_at(first, events, losses[:cut])
    if stopped is None:
        second = EarlyStopping(patience=patience)
        second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
        stopped = stopped_at(second, events, losses[cut:], first=cut)
    assert stopped == straight


def test_r14_patience_must_be_positive():
    with pytest.raises(ValueError, match="patience is 0: expected at least 1"):
        EarlyStopping(patience=0)
