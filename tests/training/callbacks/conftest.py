"""Events of a run, made as the loop makes them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trueformer.training.callbacks.protocol import Callback, Evaluate, Start, Step


class Events:
    """Starts, steps and evaluations of a run in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))

    def start(self, **changes: Any) -> Start:
        values = {"folder": self.folder, "step": 0, "steps": 100, "model": self.model, "config": {"seed": 1}}
        return Start(**values | changes)

    def step(self, step: int, loss: float = 2.0, **changes: Any) -> Step:
        values = {"step": step, "steps": 100, "loss": loss, "lr_factor": 1.0, "grad_norm": 0.5}
        speed = {"tokens": 64 * step, "tokens_per_second": 1234.5, "seconds": 0.05}
        return Step(**values | speed | changes)

    def evaluate(self, step: int, loss: float) -> Evaluate:
        return Evaluate(step=step, loss=loss, bits_per_byte=loss / 2, tokens=64 * step, seconds=0.1)


@pytest.fixture
def events(tmp_path) -> Events:
    return Events(tmp_path)


@pytest.fixture
def steps(events) -> Callable[[Iterable[Callback], Iterable[int]], None]:
    """Takes real optimizer steps on the events' model, telling the callbacks as the loop does."""
    optimizer = torch.optim.SGD(events.model.parameters(), lr=0.1)

    def take(callbacks: Iterable[Callback], numbers: Iterable[int]) -> None:
        for number in numbers:
            optimizer.zero_grad()
            loss = events.model(torch.ones(2, 4)).square().mean()
            loss.backward()
            for callback in callbacks:
                callback.on_gradients(number)
            optimizer.step()
            for callback in callbacks:
                callback.on_step(events.step(number, loss.item()))

    return take
