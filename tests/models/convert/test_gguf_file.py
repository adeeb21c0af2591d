"""The reader of untrusted GGUF files: equal to the `gguf` package's on sound ones, ValueError on others."""

import struct
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueformer.models.convert.gguf_file import GGUFFile


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every type of value and tensor."""
    path = tmp_path_factory.mktemp("gguf") / "sound.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("a.uint8", 200)
    writer.add_int8("a.int8", -3)
    writer.add_uint16("a.uint16", 60_000)
    writer.add_int16("a.int16", -30_000)
    writer.add_int32("a.int32", -5)
    writer.add_uint64("a.uint64", 2**40)
    writer.add_int64("a.int64", -(2**40))
    writer.add_float32("a.float32", 0.1)
    writer.add_float64("a.float64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_string("a.string", "naïve ☃")
    writer.add_array("a.strings", ["x", "", "☃"])
    writer.add_array("a.numbers", [1, 2, 3])
    writer.add_array("a.floats", [0.5, -0.5])
    writer.add_array("a.bools", [True, False])
    generator = np.random.default_rng(0)
    for kind in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"):
        raw_dtype = gguf.GGMLQuantizationType[kind]
        values = gguf.quants.quantize(generator.standard_normal((3, 64), np.float32), raw_dtype)
        writer.add_tensor(f"t.{kind}", values, raw_dtype=raw_dtype)
    writer.add_tensor("t.vector", np.arange(5, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_sound_file_reads_as_the_gguf_package_reads_it(sound: Path) -> None:
    ours, theirs = GGUFFile(sound), gguf.GGUFReader(sound)
    fields = {name: f.contents() for name, f in theirs.fields.items() if not name.startswith("GGUF.")}
    assert ours.metadata == fields
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        info = ours.tensors[tensor.name]
        assert info.shape == tuple(reversed(tensor.shape.tolist()))
        assert (info.kind, info.n_bytes, info.start) == (
            tensor.tensor_type.name,
            tensor.n_bytes,
            tensor.data_offset,
        )
        expected = torch.tensor(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
        assert ours.read(tensor.name).dtype == torch.float32
        assert torch.equal(ours.read(tensor.name), expected.reshape(info.shape))


def test_every_shorter_file_is_refused(sound: Path, tmp_path: Path) -> None:
    whole = sound.read_bytes()
    last = max(info.start + info.n_bytes for info in GGUFFile(sound).tensors.values())
    short = tmp_path / "short.gguf"
    for length in [*range(0, 1200, 3), *range(1200, last, 29), last - 1]:
        short.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"short\.gguf"):
            GGUFFile(short)


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 1500), noise=st.binary(min_size=1, max_size=12))
def test_damaged_headers_give_a_value_error_or_another_sound_file(
    sound: Path, tmp_path_factory, at, noise
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    whole = bytearray(sound.read_bytes())
    whole[at : at + len(noise)] = noise
    path.write_bytes(whole)
    try:
        file = GGUFFile(path)
    except ValueError:
        return
    size = path.stat().st_size
    assert all(0 <= info.start <= info.start + info.n_bytes <= size for info in file.tensors.values())


def header(n_tensors: int, n_values: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_values) + rest


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def tensor(name: str, shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


HOSTILE = {
    "not a GGUF file": (b"PK\x03\x04" + bytes(40), "starts with"),
    "another version": (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1: expected"),
    "tensors without end": (header(2**63, 0), "announces 9223372036854775808 items"),
    "values without end": (header(0, 2**63), "announces 9223372036854775808 items"),
    "array without end": (header(0, 1, text("a") + struct.pack("<IIQ", 9, 0, 2**62)), "announces .* items"),
    "large array in a small file": (
        header(0, 1, text("a") + struct.pack("<IIQ", 9, 12, 2**20)),
        "8388608 bytes are announced",
    ),
    "string without end": (header(0, 1, struct.pack("<Q", 2**63)), "9223372036854775808 bytes are announced"),
    "arrays in arrays": (header(0, 1, text("a") + struct.pack("<IIQ", 9, 9, 4)), "a list of type 9"),
    "unknown type": (header(0, 1, text("a") + struct.pack("<I", 77)), "metadata of unknown type 77"),
    "text that is none": (header(0, 1, struct.pack("<Q", 2) + b"\xff\xfe"), "is not UTF-8"),
    "a key twice": (header(0, 2, 2 * (text("a") + struct.pack("<IB", 0, 1))), "gives 'a' twice"),
    "many dimensions": (header(1, 0, tensor("t", [1] * 9)), "has 9 dimensions"),
    "no dimensions": (header(1, 0, tensor("t", [])), r"has shape \[\]"),
    "tensor past the end": (header(1, 0, tensor("t", [2**40, 2**20]) + bytes(64)), "was cut short"),
    "tensor far away": (header(1, 0, tensor("t", [1], offset=2**63) + bytes(64)), "was cut short"),
    "unknown quantisation": (
        header(1, 0, tensor("t", [256], kind=14) + bytes(512)),
        "ggml type 14, expected one of F32",
    ),
    "broken blocks": (
        header(1, 0, tensor("t", [33], kind=8) + bytes(512)),
        r"shape \[33\], expected rows of 32s",
    ),
    "a tensor twice": (header(2, 0, 2 * tensor("t", [1]) + bytes(64)), "holds tensor 't' twice"),
    "tensors over one another": (
        header(3, 0, b"".join(tensor(name, [64]) for name in "abc") + bytes(300)),
        "tensors overlap",
    ),
    "odd alignment": (
        header(0, 1, text("general.alignment") + struct.pack("<II", 4, 3)),
        "general.alignment is 3, expected a power of two",
    ),
    "alignment in words": (
        header(0, 1, text("general.alignment") + struct.pack("<I", 8) + text("wide")),
        "general.alignment is a str",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_r15_hostile_headers_are_refused_at_once(name: str, tmp_path: Path) -> None:
    contents, message = HOSTILE[name]
    path = tmp_path / "hostile.gguf"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        GGUFFile(path)


def test_without_the_gguf_package_the_error_names_the_command(sound: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)  # what an absent package looks like to an import
    file = GGUFFile(sound)
    with pytest.raises(ImportError, match=r"pip install 'trueformer\[hf\]'"):
        file.read("t.Q8_0")
