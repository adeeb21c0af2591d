"""What a run says on a terminal, and in a file."""

import io

from rich.console import Console

from trueformer.training.callbacks.json_lines import read_json_lines
from trueformer.training.callbacks.progress import Progress
from trueformer.training.callbacks.protocol import Stop
from trueformer.training.callbacks.sample import Sample


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=140, legacy_windows=False)


def drive(events, callbacks, first: int = 0, last: int = 100, **changes) -> str:
    for callback in callbacks:
        callback.on_start(events.start(step=first))
    for step in range(first + 1, last + 1):
        for callback in callbacks:
            callback.on_step(events.step(step, **changes))
            if step == 50:
                callback.on_evaluate(events.evaluate(step, 1.5))
    for callback in callbacks:
        callback.on_stop(Stop(step=last, reason="finished"))
    return callbacks[0].console.file.getvalue()


def test_t27_a_terminal_shows_a_live_line_with_loss_speed_and_time_left(events):
    text = drive(events, [Progress(console(terminal=True))])
    last = text[text.rindex("100/100") :]
    for part in ("100/100", "loss 2.0000", "val 1.5000", "1,234 tokens/s", "left"):
        assert part in last, part
    assert "step 50: validation loss 1.5000 nats/token, 0.7500 bits/byte" in text


def test_t27_a_file_gets_plain_lines(events):
    text = drive(events, [Progress(console(terminal=False))])
    lines = text.splitlines()
    assert "step 100/100 · loss 2.0000 · val 1.5000 · 1,234 tokens/s · 0:00:00 left" in lines
    assert "step 5/100 · loss 2.0000 · 1,234 tokens/s · 0:00:05 left" in lines
    assert lines[-1] == "step 100: finished"
    assert 20 <= len(lines) <= 25
    assert "\x1b" not in text


def test_t27_a_long_run_does_not_hide_its_days(events):
    text = drive(events, [Progress(console(terminal=False))], last=5, seconds=3600.0)
    assert "3 days, 23:00:00 left" in text


def test_a_resumed_run_says_so_and_a_skipped_step_is_seen(events):
    progress = Progress(console(terminal=False))
    text = drive(events, [progress], first=90, last=91, loss=float("nan"), skipped=True)
    assert "resumed at step 90 of 100" in text
    assert "step 91: the loss was not finite; the step was skipped" in text


def test_other_ranks_are_silent(events):
    quiet = console(terminal=False)
    progress = Progress(quiet)
    progress.on_start(events.start(rank=1))
    progress.on_step(events.step(1))
    progress.on_evaluate(events.evaluate(1, 1.0))
    progress.on_stop(Stop(step=1, reason="finished"))
    assert quiet.file.getvalue() == ""


def test_samples_are_printed_as_they_are_and_kept(events):
    shown = console(terminal=False)
    texts = iter(["[bold]not markup[/]", "two\nlines", "the last"])
    drive(events, [Sample(lambda: next(texts), every=40, console=shown)])
    assert "[bold]not markup[/]\n" in shown.file.getvalue()
    assert read_json_lines(events.folder / "samples.jsonl") == [
        {"step": 40, "text": "[bold]not markup[/]"},
        {"step": 80, "text": "two\nlines"},
        {"step": 100, "text": "the last"},
    ]


def test_a_sample_is_taken_once_at_the_end_and_not_after_a_failure(events):
    calls = []

    def sample() -> str:
        calls.append(1)
        return "text"

    drive(events, [Sample(sample, every=100, console=console(terminal=False))])
    assert len(calls) == 1
    failing = Sample(sample, every=0, console=console(terminal=False))
    failing.on_start(events.start())
    failing.on_stop(Stop(step=3, reason="out of memory", failed=True))
    assert len(calls) == 1
