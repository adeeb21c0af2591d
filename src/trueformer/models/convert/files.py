"""Reading folders that strangers wrote: sizes and names first, contents after, and never a pickle.

Safetensors files are opened by their own library, which checks the header against the file's size before
anything is read and gives shapes without reading tensors. Names inside an index must be plain file names of
the folder; links are followed, since the Hugging Face cache is made of them. Leaves out what the tensors
mean.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

JSON_LIMIT = 100 * 2**20  # bytes; the largest tokenizer.json in use is about 35 MB
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ValueError: the file is too large, is not JSON, or holds something other than an object.
    """
    size = path.stat().st_size
    if size > JSON_LIMIT:
        raise ValueError(f"{path} is {size} bytes: expected at most {JSON_LIMIT}; it is not a configuration")
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, expected an object with named values")
    return values


class Tensors(Mapping[str, tuple[int, ...]]):
    """The shapes of all tensors of a folder by name; `read` gives one tensor."""

    def __init__(self, files: dict[str, Any]) -> None:
        self._file_of = files
        self._shapes = {name: tuple(file.get_slice(name).get_shape()) for name, file in files.items()}

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def read(self, name: str) -> Tensor:
        """One tensor, in the dtype it is stored in, on the CPU."""
        return self._file_of[name].get_tensor(name)


@contextmanager
def open_safetensors(folder: Path) -> Iterator[Tensors]:
    """All tensors of `model.safetensors`, or of the files its index names, without reading any.

    Raises:
        ValueError: no safetensors here (or only pickles), a damaged file, a name that leaves the folder, or
            a tensor that is not where the index says.
    """
    with ExitStack() as stack:
        found: dict[str, Any] = {}
        for path, names in _weight_files(folder).items():
            try:
                file = stack.enter_context(safe_open(path, framework="pt"))
            except (SafetensorError, FileNotFoundError) as error:
                raise ValueError(f"{path} cannot be read as safetensors: {error}; fetch it again") from error
            held = set(file.keys())
            for name in sorted(held if names is None else names):
                if name not in held:
                    raise ValueError(f"{path} lacks {name}, which the index says it holds; fetch it again")
                found[name] = file
        yield Tensors(found)


def _weight_files(folder: Path) -> dict[Path, set[str] | None]:
    """The files to open and the tensors each must hold; None: whatever it holds."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return {single: None}
    if not index.exists():
        raise ValueError(_nothing_readable(folder))
    where = read_json(index).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise ValueError(f"{index}: weight_map is missing, expected an object of tensor names and file names")
    files: dict[Path, set[str] | None] = {}
    for name, file in where.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise ValueError(
                f"{index} names {file!r}: expected the plain name of a .safetensors file in that folder"
            )
        names = files.setdefault(folder / file, set())
        assert names is not None
        names.add(name)
    return files


def _nothing_readable(folder: Path) -> str:
    pickled = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if not pickled:
        return (
            f"{folder} holds no model.safetensors and no model.safetensors.index.json, expected one of them"
        )
    return (
        f"{folder} holds its weights as pickle ({', '.join(pickled[:3])}), and reading a pickle can run any "
        "code in it: expected model.safetensors. Have it converted where it is trusted, with "
        "save_pretrained(..., safe_serialization=True)"
    )
