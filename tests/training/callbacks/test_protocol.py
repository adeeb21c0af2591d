"""What callbacks may leave out, ask for, and carry through a resume."""

import pytest

from trueformer.training.callbacks.checkpoint import KeepCheckpoints
from trueformer.training.callbacks.early_stopping import EarlyStopping
from trueformer.training.callbacks.protocol import Callback, Control, Stop, collect_state, restore_state


class Silent(Callback):
    name = "silent"


def test_hooks_left_alone_do_nothing(events):
    callback = Silent()
    assert isinstance(callback, Callback)
    callback.on_start(events.start())
    callback.on_gradients(1)
    callback.on_step(events.step(1))
    callback.on_evaluate(events.evaluate(1, 1.0))
    callback.on_stop(Stop(step=1, reason="finished"))
    assert callback.state_dict() == {}


def test_the_first_reason_to_stop_is_the_one_reported():
    control = Control()
    control.request_stop("first")
    control.request_stop("second")
    assert control.stop_reason == "first"


def test_r18_callbacks_carry_their_state_by_name(events):
    first = [EarlyStopping(patience=3), KeepCheckpoints(every=10, keep_last=1)]
    for callback in first:
        callback.on_start(events.start())
        callback.on_evaluate(events.evaluate(10, 1.5))
        callback.on_evaluate(events.evaluate(20, 1.7))
    again = [KeepCheckpoints(every=10, keep_last=1), EarlyStopping(patience=3), Silent()]
    restore_state(again, collect_state(first))
    assert again[0].state_dict() == {"best_loss": 1.5, "best_step": 10}
    assert again[1].state_dict() == {"best_loss": 1.5, "waited": 1}


def test_two_callbacks_of_one_name_are_a_mistake_of_ours():
    with pytest.raises(AssertionError, match="two callbacks are named 'silent'"):
        collect_state([Silent(), Silent()])
