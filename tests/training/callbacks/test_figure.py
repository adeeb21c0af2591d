"""The loss figure: drawn from the file, whole or not at all, and never a nuisance."""

import math

import numpy as np
from matplotlib.image import imread

from trueformer.training.callbacks.figure import LossFigure, draw_losses
from trueformer.training.callbacks.metrics import Metrics
from trueformer.training.callbacks.protocol import Stop


def run(events, callbacks, losses: dict[int, float], validation: dict[int, float]) -> None:
    for callback in callbacks:
        callback.on_start(events.start())
    for step in sorted(losses | validation):
        for callback in callbacks:
            if step in losses:
                callback.on_step(events.step(step, losses[step]))
            if step in validation:
                callback.on_evaluate(events.evaluate(step, validation[step]))
    for callback in callbacks:
        callback.on_stop(Stop(step=max(losses, default=0), reason="finished"))


def colour(image: np.ndarray, red: int, green: int, blue: int) -> int:
    """How many pixels have about this colour."""
    near = np.abs(image[..., :3] * 255 - np.array([red, green, blue])).max(-1) < 12
    return int(near.sum())


def test_the_figure_shows_training_and_validation(events):
    losses = {step: 3 * step**-0.3 for step in range(1, 200)}
    run(events, [Metrics(), LossFigure()], losses, {50: 1.2, 100: 1.0, 150: 0.9})
    image = imread(events.folder / "loss.png")
    assert image.shape[:2] == (720, 1200)
    assert colour(image, 0x48, 0x78, 0xA8) > 500
    assert colour(image, 0xD1, 0x49, 0x5B) > 300
    assert sorted(p.name for p in events.folder.iterdir()) == ["loss.png", "metrics.jsonl"]


def test_a_loss_that_was_not_finite_leaves_the_rest_of_the_curves(events):
    losses = {step: 3 * step**-0.3 for step in range(1, 200)} | {5: math.nan, 6: math.inf}
    run(events, [Metrics(), LossFigure()], losses, {50: math.nan, 100: 1.0, 150: 0.9})
    image = imread(events.folder / "loss.png")
    assert colour(image, 0x48, 0x78, 0xA8) > 500
    assert colour(image, 0xD1, 0x49, 0x5B) > 300


def test_steps_without_a_finite_loss_and_runs_of_one_step_can_be_drawn(events):
    run(events, [Metrics(), LossFigure()], {1: math.nan, 2: 2.0}, {})
    assert (events.folder / "loss.png").exists()


def test_a_run_without_a_step_has_no_figure(events):
    run(events, [Metrics(), LossFigure()], {}, {})
    assert not (events.folder / "loss.png").exists()
    draw_losses([{"event": "evaluate", "step": 0, "tokens": 0, "loss": 5.0}], events.folder / "loss.png")
    assert (events.folder / "loss.png").exists()


def test_it_is_drawn_at_most_once_a_minute_and_on_rank_zero_only(events):
    metrics, figure = Metrics(), LossFigure()
    for callback in (metrics, figure):
        callback.on_start(events.start())
        callback.on_step(events.step(1))
        callback.on_evaluate(events.evaluate(1, 1.0))
    assert not (events.folder / "loss.png").exists()
    metrics.on_stop(Stop(step=1, reason="finished"))
    other = LossFigure()
    other.on_start(events.start(rank=1))
    other.on_stop(Stop(step=1, reason="finished"))
    assert not (events.folder / "loss.png").exists()
