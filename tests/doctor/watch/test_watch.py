"""The command: a script runs as it would alone, and its end, its errors and its exit status stay its own."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from trueformer.doctor.watch.rules import RULES
from trueformer.laws.law import BOOK
from trueformer.watch import main

RANDOMNESS = """
import random
import numpy as np
random.seed(0)
np.random.seed(0)
"""
STATES = """
print(torch.get_rng_state().sum(), random.random(), np.random.random())
print([parameter.double().sum().item() for parameter in model.parameters()])
"""
CLIP = "    nn.utils.clip_grad_norm_(model.parameters(), 0.1)\n"
CLEAR = "    optimizer.zero_grad(set_to_none=True)\n"
LAST = "    print(step, loss.item())\n"


@pytest.mark.parametrize("name", ["plain", pytest.param("scaled", marks=pytest.mark.slow)])
def test_numbers_and_randomness_are_the_same_to_the_bit(write, name):
    """In processes of their own: the checks of types that tests run under draw random numbers."""
    source = write(name).read_text()
    edit = (source, source.replace("import torch\n", "import torch\n" + RANDOMNESS, 1) + STATES)
    script = write(name, edit)
    alone, watched = (
        subprocess.run([sys.executable, *how, str(script)], capture_output=True, text=True, check=True).stdout
        for how in ([], ["-m", "trueformer.watch", "--every", "1"])
    )
    assert "tensor(" in alone
    assert watched == alone


def test_torch_is_as_it_was(watch):
    def parts():
        schedulers = [kind for kind in vars(lr_scheduler).values() if isinstance(kind, type)]
        return [
            nn.Module.__call__, torch.autograd.backward, F.cross_entropy, Optimizer.__init__,
            nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_, nn.utils.clip_grad.clip_grad_norm_,
            *(vars(torch.amp.GradScaler)[name] for name in ("scale", "unscale_", "step", "update")),
            *(vars(kind).get(name) for kind in schedulers for name in ("step", "__init__", "_initial_step")),
            dict(sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks),
            dict(sys.modules["torch.optim.optimizer"]._global_optimizer_post_hooks),
        ]  # fmt: skip

    before, argv, path = parts(), sys.argv, list(sys.path)
    watch("plain", (LAST, LAST + "    assert 'observe' in nn.Module.__call__.__code__.co_filename\n"))
    watch("plain", (LAST, "    raise ValueError\n"))
    assert parts() == before
    assert (sys.argv, sys.path) == (argv, path)


def test_functions_imported_by_name_are_seen(watch):
    edits = (
        ("import torch\n", "from torch.nn.utils import clip_grad_norm_ as clip\nimport torch\n"),
        ("    nn.utils.clip_grad_norm_(", "    clip("),
    )
    assert watch("plain", *edits).law("live/clip-order")["verdict"] == "holds"
    late = ((CLIP, ""), (CLEAR, "    clip(model.parameters(), 0.1)\n" + CLEAR))
    assert watch("plain", edits[0], *late).broken == {"live/clip-order": 1}


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (LAST, 0),
        ("    raise SystemExit(7)\n", 7),
        ("    raise SystemExit('no data')\n", 1),
        ("    raise SystemExit\n", 0),
        ("    raise KeyboardInterrupt\n", 130),
        ("    1 / 0\n", 1),
    ],
)
def test_the_exit_status_is_the_scripts_own(watch, last, status):
    watched = watch("plain", (LAST, last))
    assert watched.status == watched.report["exit_status"] == status
    assert "0 broken" in watched.err


def test_a_broken_law_is_status_1_and_its_line_tells_step_place_and_parameter(watch):
    watched = watch("plain", (CLEAR, ""))
    assert watched.status == 1
    told = [line for line in watched.err.splitlines() if "live/zero-grad broken" in line]
    assert len(told) == 1
    assert told[0].startswith(
        f"watch: step 2: live/zero-grad broken at {watched.place_of('loss.backward()')} (wte.weight): "
    )
    assert watched.law("live/zero-grad")["times"] == 11
    assert watched.report["steps"] == 12


def test_a_scripts_own_failure_goes_before_a_broken_law(watch):
    assert watch("plain", (CLEAR, ""), (LAST, LAST + "raise SystemExit(7)\n")).status == 7


def test_stop_ends_the_script_at_the_break_even_where_it_catches_errors(watch):
    edits = (
        (CLEAR, ""),
        (
            "    optimizer.step()\n",
            "    try:\n        optimizer.step()\n    except Exception:\n        pass\n",
        ),
    )
    watched = watch("plain", *edits, options=("--stop",))
    assert watched.status == 1
    assert watched.out.count("\n") == 1  # the loss of step 1
    assert "Traceback" not in watched.err


def test_a_traceback_shows_only_the_scripts_frames(watch):
    watched = watch("plain", model=(("return self.head(x)", "return self.head(x) + {}['gone']"),))
    assert watched.status == 1
    assert "KeyError: 'gone'" in watched.err
    assert "small.py" in watched.err
    assert 'plain.py", line' in watched.err
    for frame in ("runpy", "doctor/watch/observe.py", "doctor/watch/script.py", "trueformer/watch.py"):
        assert frame not in watched.err


def test_arguments_folder_and_main_are_those_of_a_plain_run(write, monkeypatch, capfd):
    script = write(
        "plain", ("import torch\n", "import os, sys\nprint(sys.argv, __name__, os.getcwd())\nsys.exit()\n")
    )
    monkeypatch.chdir(script.parent)
    assert main(["--every", "9", "plain.py", "--lr", "1", "--every", "3", "-m"]) == 0
    assert (
        capfd.readouterr().out
        == f"{['plain.py', '--lr', '1', '--every', '3', '-m']} __main__ {script.parent}\n"
    )
    assert main(["-m", "plain", "--stop"]) == 0
    assert f"{[str(script), '--stop']} __main__" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "no script was given"),
        (["missing.py"], "missing.py is not a file"),
        (["--every", "0", __file__], "--every is 0: expected 1"),
        (["--plan", "peak=high", __file__], "the plan is 'peak=high': expected numbers"),
        (["--plan", "top=1", __file__], "the plan is 'top=1': expected numbers"),
    ],
)
def test_a_mistake_is_one_clear_line(capfd, argv, message):
    assert main(argv) == 2
    assert message in capfd.readouterr().err


WARMUP = (
    "    x, y = batch()\n",
    "    optimizer.param_groups[0]['lr'] = 1e-3 * min(1, (step + 1) / {})\n    x, y = batch()\n",
)


def test_a_plan_is_compared_with_the_rate(watch):
    plan = ("--plan", "warmup=8,steps=12,peak=1e-3")
    assert watch("plain", (WARMUP[0], WARMUP[1].format(8)), options=plan).broken == {}
    assert watch("plain", (WARMUP[0], WARMUP[1].format(800)), options=plan).broken == {"live/plan": 2}
    assert watch("plain", (WARMUP[0], WARMUP[1].format(2)), options=plan).broken == {"live/plan": 1}
    shorter = ("--plan", "warmup=8,steps=10,peak=1e-3")
    assert watch("plain", (WARMUP[0], WARMUP[1].format(8)), options=shorter).broken == {"live/plan": 11}


def test_every_live_law_is_in_the_book_with_all_its_texts():
    assert len(RULES) == len({rule.law.id for rule in RULES}) >= 15
    for rule in RULES:
        assert BOOK[rule.law.id] is rule.law
        assert rule.law.component == "live"
        assert all(
            getattr(rule.law, text).strip()
            for text in ("statement", "source", "looks", "tolerance", "symptoms", "causes", "lesson")
        )


def test_a_fault_of_a_rule_is_reported_and_the_script_goes_on(watch, monkeypatch):
    monkeypatch.setattr(RULES[0], "step_begins", lambda *_: 1 / 0)
    watched = watch("plain")
    assert watched.status == 0
    assert watched.failures == ["live/zero-grad could not be judged: ZeroDivisionError: division by zero"]
    assert watched.law("live/zero-grad")["verdict"] == "crashed"


@pytest.mark.slow
def test_our_own_training_runs_in_silence(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 400)
    train = [
        "train",
        str(text),
        "--out",
        "run",
        "--depth",
        "1",
        "--steps",
        "24",
        "--seq-len",
        "32",
        "--batch-size",
        "4",
    ]
    options = ["--micro-batch-size", "2", "--eval-every", "8", "--cache", "cache", "--vocab-size", "300"]
    done = subprocess.run(
        [sys.executable, "-m", "trueformer.watch", "--json", "report.json", "-m", "trueformer", *train, *options],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "24 steps" in done.stderr
    assert "0 broken, 0 advised" in done.stderr
    assert "could not be judged" not in done.stderr
