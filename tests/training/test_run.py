import dataclasses
import json
import math
import subprocess
import sys

import pytest
import torch

from trueformer.config import to_dict
from trueformer.data.config import DataConfig
from trueformer.training.callbacks.json_lines import read_json_lines
from trueformer.training.checkpoints import checkpoint_folders, load_checkpoint
from trueformer.training.run import check_vocabulary, train
from trueformer.training.run_folder import saved_config


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, tiny_data):
    """The tiny corpus as a file, and its data config."""
    folder = tmp_path_factory.mktemp("corpus")
    words = ["cat", "dog", "owl", "fox"]
    lines = [
        {"text": f"the {a} saw a {b} by the sea {i}."} for i in range(40) for a in words for b in words[:2]
    ]
    (folder / "text.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return {"source": str(folder / "text.jsonl"), "tokenizer": "char", "cache": str(folder / "cache")}


@pytest.fixture
def config(corpus, tiny_config):
    def make(**changes):
        from trueformer.data.shards import prepare

        size = prepare(DataConfig(**corpus)).tokenizer.vocab_size
        model = {"vocab_size": size} | changes.pop("model", {})
        return tiny_config(model=model, data=corpus | changes.pop("data", {}), **changes)

    return make


def losses(folder):
    return {r["step"]: r["loss"] for r in read_json_lines(folder / "metrics.jsonl") if r["event"] == "step"}


def test_a_run_leaves_everything_in_its_folder(config, tmp_path):
    result = train(config(), tmp_path / "run")
    assert (result.step, result.reason, result.exit_code) == (12, "finished", 0)
    assert result.evaluation.bits_per_byte > 0
    assert math.isfinite(result.loss)
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names >= {"config.json", "tokenizer.json", "metrics.jsonl", "loss.png", "checkpoints"}
    saved = saved_config(tmp_path / "run")
    assert saved == config()
    assert load_checkpoint(checkpoint_folders(tmp_path / "run")[0]).state["progress"]["step"] == 12


def test_an_interrupted_run_resumes_as_if_it_had_not_been(config, tmp_path):
    """Stopped by a callback at step 5 of 12, then resumed: losses and weights equal a straight run's."""
    from trueformer.training.callbacks.protocol import Callback

    class StopAtFive(Callback):
        name = "stop_at_five"

        def on_start(self, event):
            self.control = event.control

        def on_step(self, event):
            if event.step == 5:
                self.control.request_stop("five is enough")

    train(config(), tmp_path / "straight")
    stopped = train(config(), tmp_path / "broken", callbacks=[StopAtFive()])
    assert (stopped.step, stopped.reason) == (5, "five is enough")
    resumed = train(config(), tmp_path / "broken", resume=True)
    assert resumed.step == 12
    assert losses(tmp_path / "broken") == losses(tmp_path / "straight")
    ends = [
        load_checkpoint(checkpoint_folders(tmp_path / n)[0]).model_tensors for n in ("straight", "broken")
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_finished_run_resumed_has_nothing_to_do_but_says_how_good_it_is(config, tmp_path):
    first = train(config(), tmp_path / "run")
    again = train(config(), tmp_path / "run", resume=True)
    assert (again.step, again.reason) == (12, "finished")
    assert again.evaluation == first.evaluation


def test_a_finished_run_can_be_extended(config, tmp_path):
    train(config(schedule={"kind": "constant"}), tmp_path / "run")
    longer = config(schedule={"kind": "constant"}, loop={"steps": 20})
    with pytest.warns(UserWarning, match="steps changed from 12 to 20"):
        result = train(longer, tmp_path / "run", resume=True)
    assert result.step == 20
    assert sorted(losses(tmp_path / "run")) == list(range(1, 21))
    assert saved_config(tmp_path / "run").loop.steps == 20


def test_a_run_can_go_on_in_another_folder(config, tmp_path):
    train(config(), tmp_path / "first")
    source = checkpoint_folders(tmp_path / "first")[-1]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "first").rglob("*")}
    result = train(config(), tmp_path / "second", resume=source)
    assert result.step == 12
    assert min(losses(tmp_path / "second")) == int(source.name[5:]) + 1
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "first").rglob("*")} == before


def test_a_used_folder_is_refused_before_anything_is_done(config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        train(config(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_overwriting_starts_afresh(config, tmp_path):
    train(config(), tmp_path / "run")
    train(config(loop={"steps": 3}), tmp_path / "run", overwrite=True)
    assert sorted(losses(tmp_path / "run")) == [1, 2, 3]
    assert [p.name for p in checkpoint_folders(tmp_path / "run")] == ["step-00000003"]


def test_a_mistake_in_the_new_config_does_not_cost_the_old_run(config, tmp_path):
    train(config(), tmp_path / "run")
    with pytest.raises(ValueError, match="vocab_size"):
        train(config(model={"vocab_size": 999}), tmp_path / "run", overwrite=True)
    assert checkpoint_folders(tmp_path / "run")


@pytest.mark.parametrize("by", [-1, 1, 1000])
def test_a12_the_models_vocabulary_is_the_tokenizers(tiny_data, tiny_config, by):
    size = tiny_data.tokenizer.vocab_size
    with pytest.raises(ValueError, match=f"vocab_size is {size + by}, the tokenizer has {size} ids"):
        check_vocabulary(tiny_config(model={"vocab_size": size + by}).model, tiny_data)
    check_vocabulary(tiny_config().model, tiny_data)


def test_r4_too_little_text_is_told_before_training(config, tmp_path):
    with pytest.raises(ValueError, match=r"the training split has .* tokens: expected at least"):
        train(config(loop={"batch_size": 100_000}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_t25_a_missing_source_is_told_before_anything_is_made(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no text at .*nowhere.txt"):
        train(config(data={"source": str(tmp_path / "nowhere.txt")}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_compile_left_open_is_decided_and_kept(config, tmp_path):
    train(config(loop={"compile": None}), tmp_path / "run")
    assert saved_config(tmp_path / "run").loop.compile is False
    train(config(loop={"compile": None, "steps": 12}), tmp_path / "run", resume=True)


@pytest.mark.parametrize(("signum", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_real_process_told_to_stop_saves_and_tells(config, tmp_path, signum, code):
    """The process signals itself from a callback at step 4; its exit code is the shell's."""
    script = f"""
import json, os, signal, sys
from pathlib import Path
from trueformer.config import from_dict
from trueformer.training.callbacks.protocol import Callback
from trueformer.training.config import RunConfig
from trueformer.training.run import train

class Signal(Callback):
    name = "signal"
    def on_gradients(self, step):
        if step == 4:
            os.kill(os.getpid(), signal.{signum})

config = from_dict(RunConfig, json.loads(sys.argv[1]))
sys.exit(train(config, Path(sys.argv[2]), callbacks=[Signal()]).exit_code)
"""
    arguments = [sys.executable, "-c", script, json.dumps(to_dict(config())), str(tmp_path / "run")]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    newest = load_checkpoint(checkpoint_folders(tmp_path / "run")[0])
    assert newest.state["progress"]["step"] == 4


def test_t14_everything_the_run_calls_exists(config, tmp_path):
    """A run with every option that has a code path of its own, once."""
    loop = {"patience": 5, "watch_gradients": 2, "sample_every": 6, "grad_clip": None,
            "z_loss": 1e-4, "label_smoothing": 0.1, "precision": "bf16",
            "micro_batch_size": 2, "backend": "plain"}  # fmt: skip
    changed = config(loop=loop, data={"document_mask": True})
    assert train(changed, tmp_path / "run").reason == "finished"
    assert (tmp_path / "run" / "gradients.jsonl").exists()
    assert dataclasses.asdict(saved_config(tmp_path / "run").loop)["patience"] == 5
