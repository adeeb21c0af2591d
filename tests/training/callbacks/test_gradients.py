"""Gradient norms and update ratios against arithmetic by hand; no copies held between watched steps."""

import gc

import pytest
import torch

from trueformer.training.callbacks.gradients import GradientMonitor
from trueformer.training.callbacks.json_lines import read_json_lines
from trueformer.training.callbacks.protocol import Stop


def tensors_alive() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_norms_and_ratios_are_what_they_say(events, steps):
    monitor = GradientMonitor(every=2)
    monitor.on_start(events.start())
    steps([monitor], [1])
    before = {name: p.detach().clone() for name, p in events.model.named_parameters()}
    steps([monitor], [2])
    monitor.on_stop(Stop(step=2, reason="finished"))
    (record,) = read_json_lines(events.folder / "gradients.jsonl")
    assert record["step"] == 2
    assert record["gradients"].keys() == before.keys()
    for name, p in events.model.named_parameters():
        assert p.grad is not None
        # Float32 norms of a few numbers, taken in another order.
        assert record["gradients"][name] == pytest.approx(p.grad.norm().item(), rel=1e-5)
        assert record["weights"][name] == pytest.approx(before[name].norm().item(), rel=1e-5)
        expected = ((p - before[name]).norm() / before[name].norm()).item()
        assert record["ratios"][name] == pytest.approx(expected, rel=1e-4)
        assert record["ratios"][name] > 0


def test_bf16_weights_are_measured_in_float32(events):
    model = events.model.bfloat16()
    monitor = GradientMonitor(every=1)
    monitor.on_start(events.start())
    for p in model.parameters():
        p.grad = torch.full_like(p, 2.0**-4)
    monitor.on_gradients(1)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1.0)
    monitor.on_step(events.step(1))
    monitor.on_stop(Stop(step=1, reason="finished"))
    (record,) = read_json_lines(events.folder / "gradients.jsonl")
    assert record["gradients"]["0.weight"] == pytest.approx(12**0.5 / 16, rel=1e-6)


def test_a_frozen_parameter_is_left_out_and_a_zero_weight_has_no_ratio(events, steps):
    events.model[0].weight.requires_grad_(False)
    with torch.no_grad():
        events.model[1].bias.zero_()
    monitor = GradientMonitor(every=1)
    monitor.on_start(events.start())
    steps([monitor], [1])
    monitor.on_stop(Stop(step=1, reason="finished"))
    (record,) = read_json_lines(events.folder / "gradients.jsonl")
    assert "0.weight" not in record["gradients"]
    assert record["ratios"]["1.bias"] is None


def test_r2_no_copy_of_the_weights_outlives_the_step(events, steps):
    monitor = GradientMonitor(every=1)
    monitor.on_start(events.start())
    steps([monitor], [1])
    before = tensors_alive()
    steps([monitor], [2, 3])
    assert tensors_alive() <= before
    monitor.on_stop(Stop(step=3, reason="finished"))


def test_r2_nothing_is_copied_on_steps_that_are_not_watched(events, steps):
    monitor = GradientMonitor(every=10)
    monitor.on_start(events.start())
    steps([], [1])
    before = tensors_alive()
    monitor.on_gradients(2)
    assert tensors_alive() == before
    monitor.on_gradients(10)
    assert tensors_alive() > before
    monitor.on_step(events.step(10))
    assert tensors_alive() == before
    monitor.on_stop(Stop(step=10, reason="finished"))


def test_r18_resumed_records_are_not_doubled(events, steps):
    for first, last in ((0, 6), (4, 8)):
        monitor = GradientMonitor(every=2)
        monitor.on_start(events.start(step=first))
        steps([monitor], range(first + 1, last + 1))
        monitor.on_stop(Stop(step=last, reason="finished"))
    assert [r["step"] for r in read_json_lines(events.folder / "gradients.jsonl")] == [2, 4, 6, 8]


def test_only_rank_zero_watches(events, steps):
    monitor = GradientMonitor(every=1)
    monitor.on_start(events.start(rank=1))
    steps([monitor], [1])
    assert list(events.folder.iterdir()) == []


def test_r14_the_interval_must_be_positive():
    with pytest.raises(ValueError, match="watch_gradients is 0: expected at least 1"):
        GradientMonitor(every=0)
