"""Every way a checkpoint can be damaged or hostile: a clear error, or the one before it with a warning."""

import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.tokenization.characters import train_characters
from trueformer.training import manifest
from trueformer.training.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from trueformer.training.folders import checkpoint_path
from trueformer.training.manifest import FILES, MANIFEST, DamagedCheckpointError

EVERY_FILE = (*FILES, MANIFEST)


def save(run: Path, step: int) -> Path:
    return save_checkpoint(
        checkpoint_path(run, step),
        model_tensors={"w": torch.full((40,), float(step)), "b": torch.full((3,), step).bfloat16()},
        optimizer_tensors={"m": torch.full((40,), -float(step))},
        state={"step": step},
        config={"model": {"d_model": 8}},
        tokenizer=train_characters(["abc"]),
    )


def goes_back(run: Path, match: str = "") -> None:
    """The damaged newest (step 2) is named aloud, and step 1 is what is loaded."""
    with pytest.raises(DamagedCheckpointError):
        load_checkpoint(checkpoint_path(run, 2))
    with pytest.warns(UserWarning, match=f"going back to step-00000001: .*step-00000002.*{match}"):
        found = latest_checkpoint(run)
    assert found is not None
    assert found.state == {"step": 1}
    assert found.model_tensors["w"].eq(1).all()


def reseal(folder: Path, **changes) -> None:
    """What an attacker can do who knows the format: a manifest that fits the files as they are now."""
    files = {}
    for name in FILES:
        if (folder / name).exists():
            data = (folder / name).read_bytes()
            files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    body = {"format": manifest.FORMAT, "files": files, "aliases": {n: {} for n in FILES}} | changes
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(body | {"sha256": digest}))


@pytest.mark.parametrize("name", EVERY_FILE)
def test_t8_a_flipped_byte_anywhere_is_found(tmp_path, name):
    folder = save(tmp_path, 1)
    whole = (folder / name).read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 60)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x41  # never turns one kind of white space into another
        (folder / name).write_bytes(damaged)
        with pytest.raises(DamagedCheckpointError, match=name):
            load_checkpoint(folder)
    (folder / name).write_bytes(whole)
    assert load_checkpoint(folder).state == {"step": 1}


@settings(deadline=None, max_examples=150)
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_t8_a_manifest_with_any_bit_flipped_is_refused_or_says_the_same(tmp_path_factory, position, bit):
    folder = checkpoint_path(tmp_path_factory.getbasetemp() / "bits", 1)
    if not folder.exists():
        save(folder.parent.parent, 1)
    whole = (folder / MANIFEST).read_bytes()
    damaged = bytearray(whole)
    damaged[position % len(whole)] ^= 1 << bit
    (folder / MANIFEST).write_bytes(damaged)
    try:
        load_checkpoint(folder)
        assert json.loads(damaged) == json.loads(whole)  # white space only
    except DamagedCheckpointError:
        pass
    finally:
        (folder / MANIFEST).write_bytes(whole)


@pytest.mark.parametrize("name", EVERY_FILE)
@pytest.mark.parametrize("keep", [0, 1, 7, 8, 0.5, -1])
def test_t8_a_truncated_newest_falls_back(tmp_path, name, keep):
    save(tmp_path, 1)
    path = save(tmp_path, 2) / name
    size = path.stat().st_size
    os.truncate(path, int(size * keep) if isinstance(keep, float) else keep % size)
    goes_back(tmp_path, name)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_t8_a_missing_file_falls_back(tmp_path, name):
    save(tmp_path, 1)
    (save(tmp_path, 2) / name).unlink()
    goes_back(tmp_path, f"{name} is missing")


def test_t8_a_longer_file_falls_back(tmp_path):
    save(tmp_path, 1)
    with (save(tmp_path, 2) / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    goes_back(tmp_path, "its manifest says")


def test_t8_files_of_another_step_fall_back(tmp_path):
    other = save(tmp_path, 1)
    (save(tmp_path, 2) / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    goes_back(tmp_path, "SHA-256 differs")


def test_t8_an_empty_folder_or_a_file_in_its_place_falls_back(tmp_path):
    save(tmp_path, 1)
    checkpoint_path(tmp_path, 2).mkdir()
    goes_back(tmp_path, "manifest.json is missing")
    checkpoint_path(tmp_path, 2).rmdir()
    checkpoint_path(tmp_path, 2).write_text("a file")
    goes_back(tmp_path, "manifest.json is missing")


def test_t9_when_nothing_verifies_it_is_an_error_and_not_none(tmp_path):
    for step in (1, 2, 3):
        (save(tmp_path, step) / "model.safetensors").write_bytes(b"")
    with pytest.raises(DamagedCheckpointError, match=r"3 checkpoints and none can be used; .*step-00000003"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "name", ["../../secret", "/etc/passwd", "sub/model.safetensors", "..", "", "model.safetensors\0"]
)
def test_r15_a_manifest_cannot_name_files_outside_its_folder(tmp_path, name):
    folder = save(tmp_path, 1)
    files = json.loads((folder / MANIFEST).read_text())["files"]
    reseal(folder, files=files | {name: {"size": 0, "sha256": "0"}})
    with pytest.raises(DamagedCheckpointError, match="inside the folder"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", FILES)
def test_r15_links_and_pipes_are_not_followed(tmp_path, name):
    folder = save(tmp_path, 1)
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedCheckpointError, match="not a regular file"):
        load_checkpoint(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)  # opening it would wait for a writer for ever
    with pytest.raises(DamagedCheckpointError, match="not a regular file"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_r15_a_file_larger_than_can_be_loaded_is_refused_unread(tmp_path, name):
    folder = save(tmp_path, 1)
    size = 1 << 43  # a hole of 8 TB, which takes no space
    files = json.loads((folder / MANIFEST).read_text())["files"]
    if name != MANIFEST:
        reseal(folder, files=files | {name: {"size": size, "sha256": "0" * 64}})
    os.truncate(folder / name, size)
    with pytest.raises(DamagedCheckpointError, match=rf"{name} is {size} bytes long"):
        load_checkpoint(folder)


def header(length: int, text: bytes = b"") -> bytes:
    return struct.pack("<Q", length) + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        header(2**63),
        header(2**40, b"{}"),
        header(100, b"{}"),
        header(2, b"{}") + b"left over",
        header(60, b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4000000000000]}}'),
        header(64, b'{"w":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,4]}}') + b"\0" * 4,
        header(5, b"[[[[["),
    ],
)
def test_r15_hostile_safetensors_headers_are_refused(tmp_path, data):
    folder = save(tmp_path, 1)
    (folder / "model.safetensors").write_bytes(data)
    reseal(folder)
    with pytest.raises(DamagedCheckpointError, match=r"model\.safetensors is no safetensors file"):
        load_checkpoint(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"step": ' + "9" * 5000 + "}", "", "\x00\xff", "[1]", "3"])
def test_r15_hostile_state_is_refused(tmp_path, text):
    folder = save(tmp_path, 1)
    (folder / "state.json").write_bytes(text.encode("latin-1"))
    reseal(folder)
    with pytest.raises(DamagedCheckpointError, match=r"state\.json"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "another"},
        {"files": []},
        {"files": {}},
        {"files": {"model.safetensors": 3}},
        {"files": {"model.safetensors": {}}},
        {"aliases": 1},
        {"aliases": {"model.safetensors": {"x": "not there"}}},
        {"aliases": {"model.safetensors": {"x": ["w"]}}},
    ],
)
def test_r15_hostile_manifests_are_refused(tmp_path, changes):
    folder = save(tmp_path, 1)
    reseal(folder, **changes)
    with pytest.raises(DamagedCheckpointError):
        load_checkpoint(folder)


class Exploit:
    def __reduce__(self):
        return os.mkdir, (os.environ["EXPLOIT"],)


def test_r3_a_pickle_is_refused_and_never_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLOIT", str(tmp_path / "exploited"))
    save(tmp_path, 1)
    folder = save(tmp_path, 2)
    torch.save({"w": Exploit()}, folder / "model.safetensors")
    reseal(folder)
    goes_back(tmp_path, "no safetensors file")
    (folder / "state.json").write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(DamagedCheckpointError):
        load_checkpoint(folder)
    assert not (tmp_path / "exploited").exists()
