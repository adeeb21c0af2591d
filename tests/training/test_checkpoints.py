"""A checkpoint comes back bit for bit, in one piece, with its tokenizer; other architectures are refused."""

import ast
import os
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import trueformer
from trueformer.tokenization.characters import train_characters
from trueformer.tokenization.load import load_tokenizer
from trueformer.training.checkpoints import (
    check_same_tensors,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from trueformer.training.folders import checkpoint_path
from trueformer.training.manifest import FILES, MANIFEST
from trueformer.training.retention import prune

DTYPES = [
    torch.float32, torch.bfloat16, torch.float16, torch.float64,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


def save(run: Path, step: int, model: dict[str, Tensor], optimizer: dict[str, Tensor] | None = None, **more):
    return save_checkpoint(
        checkpoint_path(run, step),
        model_tensors=model,
        optimizer_tensors=optimizer or {},
        state={"step": step} | more.pop("state", {}),
        config=more.pop("config", {}),
        tokenizer=more.pop("tokenizer", None),
    )


def as_bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


@settings(deadline=None, max_examples=25)
@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=5),
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=5, max_size=5),
    seed=st.integers(0, 2**16),
)
def test_r18_every_dtype_and_shape_comes_back_bit_for_bit(tmp_path_factory, shapes, dtypes, seed):
    generator = torch.Generator().manual_seed(seed)

    def random_bits(shape, dtype):
        if dtype == torch.bool:
            return torch.randint(0, 2, shape, generator=generator).bool()
        width = torch.empty((), dtype=dtype).element_size()
        bits = torch.randint(0, 256, (*shape, width), generator=generator, dtype=torch.uint8)
        return bits.view(dtype).reshape(shape)  # NaN payloads and denormals included

    tensors = {f"t{i}": random_bits(s, d) for i, (s, d) in enumerate(zip(shapes, dtypes, strict=False))}
    path = save(tmp_path_factory.mktemp("run"), 1, tensors, tensors)
    loaded = load_checkpoint(path)
    for found in (loaded.model_tensors, loaded.optimizer_tensors):
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found[name].dtype == tensor.dtype
            assert found[name].shape == tensor.shape
            assert torch.equal(as_bytes(found[name]), as_bytes(tensor)), name


def test_r18_state_and_config_come_back(tmp_path):
    state = {"rng": [2**63, 0], "nested": {"a": [1, 2.5, None, "é\n"], "tiny": 5e-324}}
    path = save(tmp_path, 7, {"w": torch.ones(2)}, state=state, config={"model": {"d_model": 8}})
    loaded = load_checkpoint(path)
    assert loaded.state == {"step": 7} | state
    assert loaded.config == {"model": {"d_model": 8}}
    assert (path.name, loaded.path, loaded.tokenizer_path) == ("step-00000007", path, None)


def test_r18_tied_tensors_are_written_once_and_tied_again(tmp_path):
    weight = torch.randn(64, 32)
    model = {"embedding.weight": weight, "head.weight": weight, "untied": weight.clone()}
    path = save(tmp_path, 1, model)
    assert (path / "model.safetensors").stat().st_size < 2.5 * weight.nbytes
    loaded = load_checkpoint(path).model_tensors
    assert loaded["head.weight"] is loaded["embedding.weight"]
    assert loaded["untied"] is not loaded["embedding.weight"]
    assert all(torch.equal(loaded[name], weight) for name in model)


def test_r18_views_transposes_and_slices_are_written_as_they_are(tmp_path):
    whole = torch.arange(24.0).reshape(4, 6)
    views = {
        "whole": whole,
        "row": whole[1:3],
        "transposed": whole.T,
        "column": whole[:, 2],
        "flat": whole.view(-1),
    }
    loaded = load_checkpoint(save(tmp_path, 1, views)).model_tensors
    assert all(torch.equal(loaded[name], tensor) for name, tensor in views.items())


def test_r18_what_was_loaded_can_be_trained_without_touching_the_file(tmp_path):
    path = save(tmp_path, 1, {"w": torch.ones(4)})
    load_checkpoint(path).model_tensors["w"].zero_()
    assert torch.equal(load_checkpoint(path).model_tensors["w"], torch.ones(4))


def test_r18_the_optimizer_half_can_be_left_out(tmp_path):
    path = save(tmp_path, 1, {"w": torch.ones(4)}, {"m": torch.ones(4)})
    (path / "optimizer.safetensors").unlink()
    assert load_checkpoint(path, optimizer=False).optimizer_tensors == {}


def test_t15_the_tokenizer_travels_inside(tmp_path):
    tokenizer = train_characters(["zebra: ✓ é", "second text"])
    path = save(tmp_path, 1, {"w": torch.ones(2)}, tokenizer=tokenizer)
    found = load_checkpoint(path).tokenizer_path
    assert found == path / "tokenizer.json"
    again = load_tokenizer(found)
    assert again.fingerprint == tokenizer.fingerprint
    assert again.encode("zebra é") == tokenizer.encode("zebra é")


def test_all_files_can_be_read_by_whom_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        path = save(tmp_path, 1, {"w": torch.ones(2)}, tokenizer=train_characters(["abc"]))
    finally:
        os.umask(before)
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.iterdir()} == dict.fromkeys(
        [*FILES, MANIFEST], "0o640"
    )


def test_t25_the_folders_are_made(tmp_path):
    assert save(tmp_path / "not" / "there" / "yet", 3, {"w": torch.ones(2)}).is_dir()


def test_no_checkpoint_is_none_and_the_newest_is_found(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for step in (9, 100, 20):
        save(tmp_path, step, {"w": torch.tensor([float(step)])})
    latest = latest_checkpoint(tmp_path)
    assert latest is not None
    assert latest.path.name == "step-00000100"
    assert latest.model_tensors["w"].item() == 100


def test_steps_beyond_eight_digits_are_ordered_as_numbers(tmp_path):
    for step in (99_999_999, 100_000_000):
        save(tmp_path, step, {"w": torch.ones(1)})
    latest = latest_checkpoint(tmp_path)
    assert latest is not None
    assert latest.state["step"] == 100_000_000


def test_a_second_save_of_one_step_replaces_the_first(tmp_path):
    for value in (1.0, 2.0, 3.0):
        path = save(tmp_path, 5, {"w": torch.tensor([value])})
    assert load_checkpoint(path).model_tensors["w"].item() == 3.0
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_t8_while_a_step_is_replaced_the_old_one_still_counts(tmp_path):
    """What a kill between the two renames leaves behind."""
    path = save(tmp_path, 5, {"w": torch.tensor([1.0])})
    path.rename(path.with_name(path.name + ".old"))
    latest = latest_checkpoint(tmp_path)
    assert latest is not None
    assert latest.model_tensors["w"].item() == 1.0
    save(tmp_path, 5, {"w": torch.tensor([2.0])})
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_t10_another_architecture_names_the_first_keys_and_shapes():
    expected = {"a.weight": torch.zeros(4, 8), "b.weight": torch.zeros(3), "c": torch.zeros(1)}
    check_same_tensors(expected, {k: v.bfloat16() for k, v in expected.items()}, "here")
    found = {"a.weight": torch.zeros(4, 6), "b.weight": torch.zeros(3), "extra": torch.zeros(2)}
    with pytest.raises(ValueError, match="another architecture") as raised:
        check_same_tensors(expected, found, "RUN/step-00000001")
    message = str(raised.value)
    assert "a.weight is (4, 6), expected (4, 8)" in message
    assert "c (1) is missing" in message
    assert "extra (2) is not expected" in message
    assert message.startswith("RUN/step-00000001")
    assert "config.json" in message


def test_t10_many_differences_are_counted_not_listed():
    with pytest.raises(ValueError, match="and 96 more"):
        check_same_tensors({f"w{i}": torch.zeros(1) for i in range(100)}, {}, "here")


def test_r5_what_was_found_stays_whole_when_its_folder_goes_away(tmp_path):
    big = torch.randn(1 << 18)
    path = save(tmp_path, 1, {"w": big})
    found = latest_checkpoint(tmp_path)
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    assert found is not None
    assert torch.equal(found.model_tensors["w"], big)


def test_r5_a_reader_beside_a_saving_and_pruning_run_always_gets_a_whole_checkpoint(tmp_path):
    save(tmp_path, 1, {"w": torch.full((2048,), 1.0)})
    done = threading.Event()

    def train() -> None:
        for step in range(2, 40):
            save(tmp_path, step, {"w": torch.full((2048,), float(step))})
            prune(tmp_path, keep_last=1)
        done.set()

    writer = threading.Thread(target=train)
    writer.start()
    seen = []
    while not done.is_set():
        found = latest_checkpoint(tmp_path)
        assert found is not None
        assert (found.model_tensors["w"] == found.state["step"]).all()
        seen.append(found.state["step"])
    writer.join()
    assert seen == sorted(seen)
    assert len(set(seen)) > 3


def test_t28_a_checkpoint_shows_where_it_is_and_not_its_tensors(tmp_path):
    path = save(tmp_path, 1, {"w": torch.randn(1000)})
    assert repr(load_checkpoint(path)) == f"Checkpoint(path={path!r}, tokenizer_path=None)"


def test_r3_nothing_in_the_package_can_unpickle():
    forbidden = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    for path in Path(trueformer.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {a.name.split(".")[0] for a in node.names} & forbidden, path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in forbidden, path
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("torch", "load"), f"{path}:{node.lineno}"
