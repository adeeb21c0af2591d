"""What is to be checked, from the words of a command line: `file.py:build`, `package.module:build`, `hf:`, `run:`."""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

EXPECTED = (
    "expected mymodel.py:build (a file and a callable in it that returns an nn.Module), package.module:build, "
    "hf:FOLDER (a Hugging Face folder) or run:FOLDER (a run of trueformer)"
)


def named_object(words: str) -> Any:
    """The object that `file.py:name` or `package.module:name` names.

    Raises:
        ValueError: there is no such file, module or name.
    """
    place, _, name = words.rpartition(":")
    if not place or not name:
        raise ValueError(f"{words!r} names nothing to call: {EXPECTED}")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_package(place)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            public = ", ".join(sorted(n for n in vars(module) if not n.startswith("_"))[:20])
            raise ValueError(f"{place} has no {name!r}: it has {public}")
        found = getattr(found, part)
    return found


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"there is no file {path}: {EXPECTED}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"checked_{path.stem}"  # not the stem: a user's json.py must not take the place of the library's
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _from_package(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"there is no module {name!r} ({error}): {EXPECTED}") from error


def model_and_parts(words: str) -> tuple[nn.Module, dict[str, Any]]:
    """The model that is named, and the parts that come with it.

    Raises:
        ValueError: nothing of that name, or it gives no model.
    """
    kind, _, place = words.partition(":")
    if kind == "hf":
        return _hugging_face(place), {}
    if kind == "run":
        from trueformer.run_subject import of_run

        parts = of_run(place)
        return parts.pop("model"), parts
    found = named_object(words)
    model = found if isinstance(found, nn.Module) else found()
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"{words} gave a {type(model).__name__}: expected an nn.Module, or a callable that returns one"
        )
    return model, {"build": found} if not isinstance(found, nn.Module) else {}


def _hugging_face(folder: str) -> nn.Module:
    if not (Path(folder) / "config.json").is_file():
        raise ValueError(
            f"{folder} is no Hugging Face folder: expected config.json and model.safetensors in it"
        )
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "a Hugging Face folder is read by transformers: pip install 'trueformer[hf]'"
        ) from error
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    named = (config.architectures or ["AutoModelForCausalLM"])[0]
    kind = getattr(transformers, named, transformers.AutoModelForCausalLM)
    return kind.from_pretrained(folder, local_files_only=True, use_safetensors=True)


def parts_of(words: str, model: nn.Module) -> dict[str, Any]:
    """The training parts that `file.py:parts` gives: a mapping or an object with attributes, or a callable of the model.

    Raises:
        ValueError: it gives neither.
    """
    found = named_object(words)
    if callable(found):
        from trueformer.subject.interface import call_by_name

        found = call_by_name(found, "model", model=model)
    values = (
        dict(found) if isinstance(found, Mapping) else vars(found) if hasattr(found, "__dict__") else None
    )
    if values is None:
        raise ValueError(f"{words} gave a {type(found).__name__}: expected a dictionary of parts")
    return {name: value for name, value in values.items() if not name.startswith("_")}
