import json
import re
from pathlib import Path

import pytest

from trueformer.config import to_dict
from trueformer.training.checkpoints import Checkpoint
from trueformer.training.run import checkpoint_to_resume
from trueformer.training.run_folder import (
    check_claim,
    check_resumable,
    clear,
    describe_run,
    differences,
    saved_config,
)


@pytest.fixture
def run(tmp_path, tiny_config, tiny_data):
    """A folder that a run has written to."""
    folder = tmp_path / "run"
    folder.mkdir()
    describe_run(folder, tiny_config(), tiny_data.tokenizer)
    (folder / "metrics.jsonl").write_text("{}\n")
    (folder / "checkpoints").mkdir()
    return folder


def checkpoint_of(config, step=4):
    return Checkpoint(
        path=Path("checkpoints/step-00000004"),
        model_tensors={},
        optimizer_tensors={},
        state={"progress": {"step": step}},
        config=to_dict(config),
        tokenizer_path=None,
    )


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_a_new_or_empty_folder_is_free(tmp_path):
    check_claim(tmp_path / "deep" / "new", resume=False, overwrite=False)
    check_claim(tmp_path, resume=False, overwrite=False)
    assert not (tmp_path / "deep").exists()


def test_t25_missing_parents_are_made(tmp_path):
    clear(tmp_path / "deep" / "new")
    assert (tmp_path / "deep" / "new").is_dir()


def test_a_run_is_not_overwritten_unless_asked(run):
    before = contents(run)
    with pytest.raises(
        ValueError, match="is not empty: give another folder, resume the run in it, or overwrite"
    ):
        check_claim(run, resume=False, overwrite=False)
    assert contents(run) == before
    check_claim(run, resume=False, overwrite=True)
    assert contents(run) == before
    clear(run)
    assert contents(run) == {}


def test_a_folder_that_is_no_run_is_never_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"is no run folder: it has no config.json"):
        check_claim(tmp_path, resume=False, overwrite=True)


def test_a_users_file_among_a_runs_is_not_removed(run):
    (run / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds 'notes.txt', which no run writes"):
        check_claim(run, resume=False, overwrite=True)
    clear(run)
    assert [p.name for p in run.iterdir()] == ["notes.txt"]


def test_another_programs_config_is_not_taken_for_a_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match="unknown key 'model_type'"):
        check_claim(tmp_path, resume=False, overwrite=True)


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="is a file: give a folder"):
        check_claim(tmp_path / "out", resume=False, overwrite=False)


def test_resuming_needs_a_run(tmp_path):
    with pytest.raises(ValueError, match="is no run folder"):
        check_claim(tmp_path / "mistyped", resume=True, overwrite=False)
    with pytest.raises(ValueError, match="contradict each other"):
        check_claim(tmp_path, resume=True, overwrite=True)


def test_t9_a_run_without_a_checkpoint_starts_over_only_with_a_warning(run):
    with pytest.warns(UserWarning, match="has no checkpoint yet: starting it from step 0"):
        assert checkpoint_to_resume(run, True) is None
    with pytest.raises(ValueError, match="has no checkpoint: expected a run"):
        checkpoint_to_resume(run / "elsewhere", run)


def test_the_saved_config_is_the_config(run, tiny_config):
    assert saved_config(run) == tiny_config()
    (run / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is not JSON"):
        saved_config(run)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"optim": {"lr_matrices": 0.5}}, "optim.lr_matrices was 0.005, now 0.5"),
        ({"model": {"n_layers": 3}}, "model.n_layers was 1, now 3"),
        ({"data": {"seq_len": 8}}, "data.seq_len was 16, now 8"),
        ({"loop": {"batch_size": 8}}, "loop.batch_size was 4, now 8"),
        ({"loop": {"seed": 1}}, "loop.seed was 1337, now 1"),
        ({"schedule": {"kind": "wsd"}}, "schedule.kind was 'cosine', now 'wsd'"),
    ],
)
def test_another_run_cannot_be_resumed_and_the_field_is_named(tiny_config, changes, name):
    with pytest.raises(ValueError, match=re.escape(name)):
        check_resumable(tiny_config(**changes), checkpoint_of(tiny_config()))


def test_what_only_observes_may_change(tiny_config):
    changes = {
        "eval_every": 2,
        "checkpoint_every": 1,
        "patience": 3,
        "track": ("tensorboard",),
        "sample_every": 5,
    }
    check_resumable(tiny_config(loop=changes), checkpoint_of(tiny_config()))


def test_more_steps_move_the_schedules_end_and_are_told(tiny_config):
    old = tiny_config(schedule={"kind": "linear"})
    new = tiny_config(schedule={"kind": "linear"}, loop={"steps": 24})
    with pytest.warns(
        UserWarning, match=r"steps changed from 12 to 24: .* go from 0\.\d+ to 0\.\d+ of their peak"
    ):
        check_resumable(new, checkpoint_of(old))


def test_fewer_steps_than_were_taken_are_refused(tiny_config):
    with pytest.raises(ValueError, match="steps is 3: expected at least the 4"):
        check_resumable(tiny_config(loop={"steps": 3}), checkpoint_of(tiny_config()))


def test_another_order_of_rounding_is_allowed_and_told(tiny_config):
    with pytest.warns(UserWarning, match=r"another loop.micro_batch_size: .* not bit-identically"):
        check_resumable(tiny_config(loop={"micro_batch_size": 2}), checkpoint_of(tiny_config()))


def test_differences_are_dotted_names():
    old = {"a": {"b": 1, "c": 2}, "d": 3}
    assert differences(old, old) == {}
    assert differences(old, {"a": {"b": 5, "c": 2}, "e": 4}) == {
        "a.b": (1, 5),
        "d": (3, None),
        "e": (None, 4),
    }


def test_config_json_is_readable_by_people(run):
    text = (run / "config.json").read_text()
    assert json.loads(text)["loop"]["steps"] == 12
    assert text.count("\n") > 20
