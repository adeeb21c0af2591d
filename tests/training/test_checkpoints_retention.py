"""The best and the last good checkpoints stay; never does the only good one go, nor anything not ours."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trueformer.training.checkpoints import latest_checkpoint, save_checkpoint
from trueformer.training.folders import checkpoint_path
from trueformer.training.manifest import DamagedCheckpointError
from trueformer.training.retention import best_checkpoint, mark_best, prune


def save(run: Path, *steps: int) -> Path:
    for step in steps:
        save_checkpoint(
            checkpoint_path(run, step),
            model_tensors={"w": torch.full((8,), float(step))},
            optimizer_tensors={},
            state={"step": step},
            config={},
            tokenizer=None,
        )
    return checkpoint_path(run, steps[-1])


def steps(run: Path) -> list[int]:
    return sorted(int(p.name.removeprefix("step-")) for p in (run / "checkpoints").glob("step-*"))


def damage(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"damaged")


def test_r16_the_best_and_the_last_two_stay(tmp_path):
    mark_best(save(tmp_path, 1, 2), 1.5)
    save(tmp_path, 3, 4, 5, 6)
    removed = prune(tmp_path, keep_last=2)
    assert steps(tmp_path) == [2, 5, 6]
    assert sorted(p.name for p in removed) == [f"step-{s:08d}" for s in (1, 3, 4)]
    assert best_checkpoint(tmp_path) == checkpoint_path(tmp_path, 2)
    assert prune(tmp_path, keep_last=2) == []


def test_r16_damaged_ones_do_not_count_as_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 4)
    damage(checkpoint_path(tmp_path, 4))
    damage(checkpoint_path(tmp_path, 3))
    prune(tmp_path, keep_last=1)
    assert steps(tmp_path) == [2, 3, 4]  # 3 and 4 are left to be looked at, 2 is what a run resumes from
    with pytest.warns(UserWarning, match="going back to step-00000002"):
        latest_checkpoint(tmp_path)


def test_r16_the_only_good_one_is_never_removed(tmp_path):
    save(tmp_path, 1, 2, 3)
    for step in (2, 3):
        damage(checkpoint_path(tmp_path, step))
    prune(tmp_path, keep_last=1)
    assert 1 in steps(tmp_path)
    damage(checkpoint_path(tmp_path, 1))
    assert prune(tmp_path, keep_last=1) == []
    assert steps(tmp_path) == [1, 2, 3]


def test_r16_an_old_one_whose_replacement_is_damaged_is_kept(tmp_path):
    """What a kill during a replacement leaves, and damage to the replacement after it."""
    replaced = save(tmp_path, 1).rename(tmp_path / "checkpoints" / "step-00000001.old")
    damage(save(tmp_path / "other", 1).rename(checkpoint_path(tmp_path, 1)))
    assert prune(tmp_path, keep_last=1) == []
    with pytest.warns(UserWarning, match=r"going back to step-00000001\.old"):
        found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.path == replaced


def test_r16_an_old_one_whose_replacement_is_sound_is_not_counted(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2).rename(tmp_path / "checkpoints" / "step-00000002.old")
    save(tmp_path / "other", 2).rename(checkpoint_path(tmp_path, 2))
    assert [p.name for p in prune(tmp_path, keep_last=2)] == ["step-00000002.old"]
    assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("extra", ["notes.txt", "samples"])
def test_r16_what_it_did_not_write_is_never_removed(tmp_path, extra):
    save(tmp_path, 1, 2)
    folder = checkpoint_path(tmp_path, 1)
    (folder / extra).mkdir() if extra == "samples" else (folder / extra).write_text("mine")
    (tmp_path / "checkpoints" / "step-mine").mkdir()
    with pytest.warns(UserWarning, match=f"step-00000001 is left in place: it holds '{extra}'"):
        assert prune(tmp_path, keep_last=1) == []
    assert (folder / extra).exists()
    assert (folder / "model.safetensors").exists()
    assert (tmp_path / "checkpoints" / "step-mine").exists()


def test_r16_a_link_to_a_folder_elsewhere_is_not_followed(tmp_path):
    elsewhere = save(tmp_path / "other", 1)
    save(tmp_path, 2)
    checkpoint_path(tmp_path, 1).symlink_to(elsewhere)
    with pytest.warns(UserWarning, match="left in place"):
        prune(tmp_path, keep_last=1)
    assert (elsewhere / "model.safetensors").exists()


def test_a_save_does_not_replace_what_is_not_a_checkpoint(tmp_path):
    folder = checkpoint_path(tmp_path, 1)
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match=r"in the way: it holds 'thesis\.tex'"):
        save(tmp_path, 1)
    assert (folder / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"checkpoint": "../../elsewhere"}', '{"checkpoint": 3}'])
def test_r16_with_a_damaged_mark_nothing_is_removed(tmp_path, text):
    save(tmp_path, 1, 2, 3)
    (tmp_path / "checkpoints" / "best.json").write_text(text)
    with pytest.raises(DamagedCheckpointError, match=r"best\.json"):
        best_checkpoint(tmp_path)
    with pytest.warns(UserWarning, match="no checkpoint is removed"):
        assert prune(tmp_path, keep_last=1) == []
    assert steps(tmp_path) == [1, 2, 3]


def test_a_mark_on_a_checkpoint_that_is_gone_is_an_error(tmp_path):
    assert best_checkpoint(tmp_path) is None
    mark_best(save(tmp_path, 1), 1.0)
    checkpoint_path(tmp_path, 1).rename(tmp_path / "gone")
    with pytest.raises(DamagedCheckpointError, match="step-00000001, which is not there"):
        best_checkpoint(tmp_path)


def test_leftovers_of_a_killed_save_are_ignored_and_removed_by_the_next(tmp_path):
    save(tmp_path, 1)
    root = tmp_path / "checkpoints"
    for name in (".saving-step-00000002-0123abcd", ".deleting-step-00000001-0123abcd"):
        checkpoint_path(tmp_path, 1).rename(root / name)
        save(tmp_path, 1)
    kept = [".saving-notes", ".saving-step-00000002-nothex!!", ".hidden"]
    for name in kept:
        (root / name).mkdir()
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.state == {"step": 1}
    save(tmp_path, 2)
    assert sorted(p.name for p in root.iterdir()) == sorted([*kept, "step-00000001", "step-00000002"])


LIVE_WRITER = """
import sys, time
from pathlib import Path
from trueformer.training.folders import temporary_sibling
with temporary_sibling(Path(sys.argv[1])) as temporary:
    print(temporary, flush=True)
    time.sleep(60)
"""


def test_a_folder_that_another_process_is_writing_is_left_alone(tmp_path):
    save(tmp_path, 1)
    target = checkpoint_path(tmp_path, 2)
    with subprocess.Popen(
        [sys.executable, "-c", LIVE_WRITER, str(target)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        temporary = Path(writer.stdout.readline().strip())
        save(tmp_path, 3)
        assert temporary.is_dir()
        writer.kill()
    save(tmp_path, 4)
    assert not temporary.exists()
