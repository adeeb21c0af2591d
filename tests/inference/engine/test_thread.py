"""The engine's thread: many askers at once, every request ends, failures reach those who wait."""

import threading

import pytest

from trueformer.inference.config import SamplingConfig
from trueformer.inference.engine.engine import Engine, QueueFull
from trueformer.inference.engine.request import Request
from trueformer.inference.engine.thread import EngineThread
from trueformer.inference.generate import generate


class Asked:
    """Collects a request's events; `ended` is set by the last."""

    def __init__(self, thread: EngineThread, **wishes) -> None:
        self.request, self.events, self.ended = Request(**wishes), [], threading.Event()
        thread.start(self.request, self.take)

    def take(self, events) -> None:
        self.events += events
        if any(event.reason for event in events):
            self.ended.set()

    @property
    def ids(self) -> list[int]:
        return [event.token.id for event in self.events if event.token]

    @property
    def reason(self) -> str:
        assert self.ended.wait(20)
        return self.events[-1].reason


def test_many_threads_ask_at_once_and_each_gets_its_own(random_model):
    greedy = SamplingConfig(temperature=0.0)
    found = {}
    with EngineThread(Engine(random_model, n_slots=3, slot_len=64)) as thread:

        def ask(i: int) -> None:
            asked = Asked(thread, prompt=[i], max_new_tokens=8, sampling=greedy)
            found[i] = (asked.reason, asked.ids)

        workers = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for i in range(12):
        assert found[i] == ("length", generate(random_model, [[i]], greedy, max_new_tokens=8)[0].ids)


def test_a_cancelled_request_ends_and_closing_ends_all(random_model):
    thread = EngineThread(Engine(random_model, n_slots=1, slot_len=96))
    first, second = (Asked(thread, prompt=[i], max_new_tokens=90) for i in (1, 2))
    thread.cancel(first.request)
    assert first.reason == "cancelled"
    third = Asked(thread, prompt=[3], max_new_tokens=90)
    thread.close()
    assert {second.reason, third.reason} <= {"cancelled", "length"}
    with pytest.raises(RuntimeError, match="the engine has stopped: it was closed"):
        Asked(thread, prompt=[1], max_new_tokens=1)


def test_a_full_queue_refuses_at_once(random_model):
    with EngineThread(Engine(random_model, n_slots=1, slot_len=96, max_queue=2)) as thread:
        held = threading.Event()
        slow = Request(prompt=[1], max_new_tokens=90)
        thread.start(slow, lambda events: held.wait(10))  # the engine's thread stands still here
        while not thread.engine.n_running:
            pass
        Asked(thread, prompt=[2], max_new_tokens=1)
        Asked(thread, prompt=[3], max_new_tokens=1)
        with pytest.raises(QueueFull, match="2 requests wait"):
            Asked(thread, prompt=[4], max_new_tokens=1)
        held.set()


def test_a_crowd_is_refused_or_served_and_never_breaks_the_engine(random_model):
    counts = {"served": 0, "refused": 0}
    with EngineThread(Engine(random_model, n_slots=2, slot_len=96, max_queue=1)) as thread:

        def ask_often() -> None:
            for _ in range(40):
                try:
                    asked = Asked(thread, prompt=[1], max_new_tokens=2)
                except QueueFull:
                    counts["refused"] += 1
                else:
                    assert asked.reason == "length"
                    counts["served"] += 1

        crowd = [threading.Thread(target=ask_often) for _ in range(8)]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()
        assert thread.failure is None
    assert min(counts.values()) > 0
    assert sum(counts.values()) == 320


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broken_engine_ends_every_request_with_an_error(random_model, capsys):
    engine = Engine(random_model, n_slots=1, slot_len=96)
    with EngineThread(engine) as thread:
        engine.cache.keys[0] = engine.cache.keys[0][:, :1]  # as if memory had gone
        asked = Asked(thread, prompt=[1, 2, 3], max_new_tokens=5)
        assert asked.reason == "error"
        assert thread.failure is not None
        with pytest.raises(RuntimeError, match="has stopped"):
            Asked(thread, prompt=[1], max_new_tokens=1)
    assert "Traceback" in capsys.readouterr().err
