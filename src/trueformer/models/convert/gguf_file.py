"""Reading a GGUF file that a stranger wrote: no count or offset is followed before it is checked.

The `gguf` package's own reader believes them (sixty bytes can keep it busy for ever) and takes seconds for a
vocabulary of 50,000; it is what the tests compare with. It stays the one to dequantise. Format: the GGUF
specification, versions 2 and 3, little-endian. Leaves out writing, and arrays of arrays.
"""

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

MAX_ITEMS = 2**22  # of an array: vocabularies have at most a few hundred thousand entries
MAX_ENTRIES = 2**16  # metadata keys, tensors
MAX_DIMENSIONS = 4
STRING, ARRAY = 8, 9
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# Type number → name, values a block, bytes a block.
_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    30: ("BF16", 1, 2),
    8: ("Q8_0", 32, 34),
    2: ("Q4_0", 32, 18),
} | {3: ("Q4_1", 32, 20)}


class TensorInfo(NamedTuple):
    """Where a tensor is and how it is stored."""

    shape: tuple[int, ...]  # in torch's order
    kind: str
    start: int  # bytes from the start of the file
    n_bytes: int


class GGUFFile:
    """The metadata of a file and its tensors' places; `read` gives one tensor in float32.

    Raises:
        ValueError: not a GGUF file, damaged or cut short, or a kind of tensor that is not supported.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.stat().st_size < 24:
            raise ValueError(f"{path} has {path.stat().st_size} bytes: expected a GGUF file")
        self._data = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)  # slices faster as what it is
        cursor = _Cursor(self._data, path)
        magic, version = cursor.take(4).tobytes(), cursor.number("I")
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(
                f"{path} starts with {magic!r}, version {version}: expected b'GGUF', version 2 or 3"
            )
        n_tensors, n_values = cursor.count(MAX_ENTRIES), cursor.count(MAX_ENTRIES)
        self.metadata: dict[str, Any] = {}
        for _ in range(n_values):
            key = cursor.string()
            if key in self.metadata:
                raise ValueError(f"{path} gives {key!r} twice")
            self.metadata[key] = cursor.value(cursor.number("I"))
        self.tensors = self._tensors(cursor, n_tensors)

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """A value of the metadata, or `default`.

        Raises:
            ValueError: it is not of that kind.
        """
        value = self.metadata.get(key)
        if value is not None and not isinstance(value, kind):
            raise ValueError(
                f"{self.path}: {key} is a {type(value).__name__} ({str(value)[:40]}), expected {kind}"
            )
        return default if value is None else value

    def _tensors(self, cursor: "_Cursor", count: int) -> dict[str, TensorInfo]:
        listed = [cursor.tensor() for _ in range(count)]
        alignment = self.get("general.alignment", int, 32)
        if alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"{self.path}: general.alignment is {alignment!r}, expected a power of two")
        start = -(-cursor.offset // alignment) * alignment
        tensors: dict[str, TensorInfo] = {}
        for name, shape, kind, offset in listed:
            info = self._place(name, shape, kind, start + offset)
            if name in tensors:
                raise ValueError(f"{self.path} holds tensor {name!r} twice")
            tensors[name] = info
        if sum(info.n_bytes for info in tensors.values()) > len(self._data):
            raise ValueError(f"{self.path}: its tensors overlap, so that they are larger than the file")
        return tensors

    def _place(self, name: str, shape: tuple[int, ...], kind: int, start: int) -> TensorInfo:
        if kind not in _TYPES:
            known = ", ".join(label for label, _, _ in _TYPES.values())
            raise ValueError(
                f"{self.path}: tensor {name!r} is of ggml type {kind}, expected one of {known}; "
                "quantise the model again, as Q8_0 for instance"
            )
        label, block, size = _TYPES[kind]
        if not shape or shape[-1] % block:
            raise ValueError(
                f"{self.path}: tensor {name!r} has shape {list(shape)}, expected rows of {block}s"
            )
        n_bytes = math.prod(shape) // block * size
        if start + n_bytes > len(self._data):
            raise ValueError(
                f"{self.path} ends at byte {len(self._data)}, and tensor {name!r} would end at byte "
                f"{start + n_bytes}: the file was cut short; fetch it again"
            )
        return TensorInfo(shape, label, start, n_bytes)

    def read(self, name: str) -> Tensor:
        """One tensor in float32, dequantised by the `gguf` package."""
        quants, constants = _gguf()
        info = self.tensors[name]
        raw = self._data[info.start : info.start + info.n_bytes]
        rows = raw.reshape(*info.shape[:-1], -1)
        values = quants.dequantize(rows, constants.GGMLQuantizationType[info.kind])
        values = (
            values if values.flags.writeable else values.copy()
        )  # float32 comes as the mapped file itself
        return torch.from_numpy(values).reshape(info.shape)


def _gguf() -> tuple[Any, Any]:
    try:
        from gguf import constants, quants
    except ImportError as error:
        raise ImportError(
            "reading GGUF weights needs the gguf package: pip install 'trueformer[hf]'"
        ) from error
    return quants, constants


class _Cursor:
    """A position in the file that never passes its end."""

    def __init__(self, data: np.ndarray, path: Path) -> None:
        self.data, self.path, self.offset = data, path, 0

    def take(self, n_bytes: int) -> np.ndarray:
        if n_bytes > len(self.data) - self.offset:
            raise ValueError(
                f"{self.path} is damaged: {n_bytes} bytes are announced at byte {self.offset} "
                f"of {len(self.data)}"
            )
        self.offset += n_bytes
        return self.data[self.offset - n_bytes : self.offset]

    def number(self, form: str) -> Any:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)).tobytes())[0]

    def count(self, limit: int) -> int:
        n = self.number("Q")
        if n > limit:
            raise ValueError(f"{self.path} is damaged: it announces {n} items, expected at most {limit}")
        return n

    def string(self) -> str:
        raw = self.take(self.number("Q")).tobytes()
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path} is damaged: {raw[:40]!r} is not UTF-8 text") from error

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            return self._array(self.number("I"))
        if kind not in _FORMATS:
            raise ValueError(f"{self.path} is damaged: metadata of unknown type {kind}")
        return self.number(_FORMATS[kind])

    def _array(self, kind: int) -> list[Any]:
        n = self.count(MAX_ITEMS)
        if kind == STRING:
            return [self.string() for _ in range(n)]
        if kind not in _FORMATS:
            raise ValueError(f"{self.path} is damaged: a list of type {kind}, expected numbers or texts")
        dtype = np.dtype("<" + _FORMATS[kind]) if _FORMATS[kind] != "?" else np.dtype(bool)
        return self.take(n * dtype.itemsize).view(dtype).tolist()

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """One tensor's entry in the header: name, shape, type and offset; ValueError where it cannot be."""
        name = self.string()
        n_dimensions = self.number("I")
        if n_dimensions > MAX_DIMENSIONS:
            raise ValueError(
                f"{self.path}: tensor {name!r} has {n_dimensions} dimensions, expected at most 4"
            )
        shape = tuple(reversed([self.number("Q") for _ in range(n_dimensions)]))  # ggml: the fastest first
        return name, shape, self.number("I"), self.number("Q")
