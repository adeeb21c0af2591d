"""Lines of JSON: nothing twice after a resume, nothing lost in silence."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.training.callbacks.json_lines import JsonLines, read_json_lines
from trueformer.training.callbacks.metrics import Metrics
from trueformer.training.callbacks.protocol import Saved, Stop
from trueformer.training.folders import checkpoint_path


def test_t23_malformed_lines_are_reported_with_their_numbers(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnot json\n{"step": 2}\n[3]\n{"stop": 4}\n{"step": 3, "lo')
    with pytest.warns(UserWarning, match=r"4 of 6 lines are not records .*\(line 2, 4, 5, 6\).*'not json'"):
        records = read_json_lines(path)
    assert records == [{"step": 1}, {"step": 2}]


def test_t23_a_sound_file_is_read_without_a_word(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "text": "\\u2028 é\\n"}\n')  # separators that are no ends of lines in JSON
    assert read_json_lines(path) == [{"step": 1, "text": "\u2028 é\n"}]


def test_a_number_that_is_not_finite_is_written_as_null(tmp_path):
    lines = JsonLines(tmp_path / "x.jsonl", 0)
    lines.write({"step": 1, "loss": math.nan, "deep": {"a": math.inf, "b": [1.5, -math.inf]}})
    assert json.loads((tmp_path / "x.jsonl").read_text()) == {
        "step": 1, "loss": None, "deep": {"a": None, "b": [1.5, None]},
    }  # fmt: skip
    lines.close()


@settings(deadline=None, max_examples=60)
@given(written=st.integers(0, 12), resumed=st.integers(0, 12), torn=st.integers(0, 40))
def test_r18_a_resumed_file_holds_every_step_once(tmp_path_factory, written, resumed, torn):
    """Killed after `written` steps with its last line torn, resumed from any checkpoint before."""
    resumed = min(resumed, written)
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    lines = JsonLines(path, 0)
    for step in range(1, written + 1):
        lines.write({"step": step, "life": 1})
    lines.close()
    last = len(json.dumps({"step": written, "life": 1})) + 1
    if written > resumed:
        os.truncate(path, path.stat().st_size - torn % last)
    lines = JsonLines(path, resumed)
    for step in range(resumed + 1, 15):
        lines.write({"step": step, "life": 2})
    lines.close()
    records = read_json_lines(path)
    assert [r["step"] for r in records] == list(range(1, 15))
    assert [r["life"] for r in records] == [1] * resumed + [2] * (14 - resumed)


def test_malformed_lines_before_the_resumed_step_are_kept_for_the_reader_to_report(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"step": 1}\nbroken\n{"step": 2}\n{"step": 3}\n')
    JsonLines(path, 2).close()
    assert path.read_text() == '{"step": 1}\nbroken\n{"step": 2}\n'


def test_metrics_hold_every_event_of_a_run_and_of_its_continuation(events):
    path = events.folder / "metrics.jsonl"
    for first, last in ((0, 30), (20, 40)):  # killed after 30 steps; the checkpoint was of step 20
        metrics = Metrics()
        metrics.on_start(events.start(step=first))
        for step in range(first + 1, last + 1):
            metrics.on_step(events.step(step, loss=math.nan if step == 25 else 2.0, skipped=step == 25))
            if step % 10 == 0:
                metrics.on_evaluate(events.evaluate(step, 1.5))
                metrics.on_checkpoint(
                    Saved(step=step, path=checkpoint_path(events.folder, step), seconds=0.1)
                )
        metrics.on_stop(Stop(step=last, reason="finished" if last == 40 else "lost power"))
    records = read_json_lines(path)
    of = {
        kind: [r for r in records if r["event"] == kind]
        for kind in ("start", "step", "evaluate", "saved", "stop")
    }
    assert [r["step"] for r in of["step"]] == list(range(1, 41))
    assert [r["step"] for r in of["evaluate"]] == [10, 20, 30, 40]
    assert [r["step"] for r in of["start"]] == [0, 20]
    assert of["saved"][-1]["name"] == "step-00000040"
    assert [r["reason"] for r in of["stop"]] == ["finished"]
    assert of["step"][24]["loss"] is None
    assert of["step"][24]["skipped"] is True
    assert of["step"][0] | {"time": 0} == {
        "event": "step", "time": 0, "step": 1, "steps": 100, "loss": 2.0, "lr_factor": 1.0, "grad_norm": 0.5,
        "tokens": 64, "tokens_per_second": 1234.5, "seconds": 0.05, "skipped": False,
    }  # fmt: skip


def test_only_rank_zero_writes(events):
    metrics = Metrics()
    metrics.on_start(events.start(rank=1))
    metrics.on_step(events.step(1))
    metrics.on_stop(Stop(step=1, reason="finished"))
    assert list(events.folder.iterdir()) == []


WRITER = """
import sys
from pathlib import Path
from trueformer.training.callbacks.json_lines import JsonLines
lines = JsonLines(Path(sys.argv[1]), 0)
for step in range(1, 10**9):
    lines.write({"step": step, "filler": "x" * 200})
    print(step, flush=True)
"""


def test_a_killed_process_has_written_every_step_it_took(tmp_path):
    path = tmp_path / "x.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.02)
        writer.send_signal(signal.SIGKILL)
        announced = 1 + len(writer.stdout.read().splitlines())
    JsonLines(path, 10**9).close()  # cuts a torn last line, if the kill tore one
    assert [r["step"] for r in read_json_lines(path)][:announced] == list(range(1, announced + 1))
