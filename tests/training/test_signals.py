import os
import signal
import threading

import pytest

from trueformer.training import signals
from trueformer.training.signals import StopRequest, exit_code, stop_on_signals


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_becomes_a_request_with_the_shells_exit_code(signum, code):
    with stop_on_signals() as stop:
        assert stop.signal == 0
        os.kill(os.getpid(), signum)
    assert stop.signal == signum
    assert exit_code(stop.signal) == code


def test_handlers_are_put_back_even_after_an_error():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError), stop_on_signals():
        raise RuntimeError
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_sigint_stops_at_once(monkeypatch):
    monkeypatch.setattr(signals, "SAME_KEYSTROKE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt), stop_on_signals():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_one_keystroke_that_arrives_twice_is_one_request():
    """The terminal and torchrun both pass Ctrl-C on to a worker."""
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.signal == signal.SIGINT


def test_a_second_sigterm_changes_nothing(monkeypatch):
    monkeypatch.setattr(signals, "SAME_KEYSTROKE_SECONDS", 0.0)
    stop = StopRequest()
    stop.ask(signal.SIGINT)
    stop.ask(signal.SIGTERM)
    assert stop.signal == signal.SIGINT


def test_outside_the_main_thread_handlers_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def run():
        with stop_on_signals() as stop:
            seen.append((stop.signal, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(0, before)]
