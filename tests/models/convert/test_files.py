"""Folders that strangers wrote: whatever is wrong is a ValueError that says what and where."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trueformer.models.convert import files
from trueformer.models.convert.files import open_safetensors, read_json


def write_index(folder: Path, weight_map: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_are_read_by_the_index(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3)}, tmp_path / "one.safetensors")
    save_file({"b": torch.zeros(4), "unlisted": torch.zeros(1)}, tmp_path / "two.safetensors")
    write_index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    with open_safetensors(tmp_path) as tensors:
        assert dict(tensors) == {"a": (2, 3), "b": (4,)}
        assert torch.equal(tensors.read("a"), torch.ones(2, 3))


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "sub/one.safetensors", "..", "one.bin", "", 7, None]
)
def test_an_index_may_not_name_files_outside_its_folder(name: object, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": torch.ones(1)}, tmp_path / "outside.safetensors")
    write_index(folder, {"a": name})
    with pytest.raises(ValueError, match="expected the plain name"), open_safetensors(folder):
        pass


def test_a_missing_shard_or_tensor_is_named(tmp_path: Path) -> None:
    write_index(tmp_path, {"a": "one.safetensors"})
    with (
        pytest.raises(ValueError, match=r"one\.safetensors cannot be read as safetensors"),
        open_safetensors(tmp_path),
    ):
        pass
    save_file({"b": torch.ones(1)}, tmp_path / "one.safetensors")
    with (
        pytest.raises(ValueError, match=r"one\.safetensors lacks a, which the index says"),
        open_safetensors(tmp_path),
    ):
        pass


@pytest.mark.parametrize("weight_map", [None, {}, ["a"], "a"])
def test_an_index_without_a_map_is_refused(weight_map: object, tmp_path: Path) -> None:
    write_index(tmp_path, weight_map)
    with pytest.raises(ValueError, match="weight_map is missing"), open_safetensors(tmp_path):
        pass


def test_r3_pickled_weights_are_refused_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    with (
        pytest.raises(ValueError, match=r"as pickle \(pytorch_model\.bin\).*can run any code"),
        open_safetensors(tmp_path),
    ):
        pass


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with (
        pytest.raises(
            ValueError, match=r"holds no model\.safetensors and no model\.safetensors\.index\.json"
        ),
        open_safetensors(tmp_path),
    ):
        pass


def damaged(whole: bytes) -> dict[str, bytes]:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    return {
        "empty": b"",
        "cut": whole[:-1],
        "longer": whole + b"\0",
        "header without end": struct.pack("<Q", 2**62) + whole[8:],
        "header that is no JSON": struct.pack("<Q", 4) + b"{{{{" + whole[12:],
        "tensor larger than the file": struct.pack("<Q", len(header)) + header + bytes(64),
    }


@pytest.mark.parametrize("how", damaged(bytes(100)))
def test_r15_damaged_files_are_refused_before_they_are_read(how: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(10)}, path)
    path.write_bytes(damaged(path.read_bytes())[how])
    with (
        pytest.raises(ValueError, match=r"model\.safetensors cannot be read as safetensors"),
        open_safetensors(tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds a list, expected an object"),
        ("[" * 100_000, "is not JSON"),
        ("\xff", "is not JSON|expected an object"),
    ],
)
def test_json_that_is_no_object_is_refused(contents: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(contents, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "config.json")


def test_r15_a_json_file_of_any_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(files.JSON_LIMIT + 1)  # sparse: takes no room
    with pytest.raises(ValueError, match="expected at most"):
        read_json(path)
