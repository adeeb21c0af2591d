"""What `trueformer import` and `trueformer export` do: any model into a run folder, or into a stock one.

Leaves out the parsing of commands, and resuming: an imported run has weights and a tokenizer, no optimizer.
"""

from dataclasses import replace
from pathlib import Path

import torch

from trueformer.config import to_dict
from trueformer.data.config import DataConfig
from trueformer.load import load_model
from trueformer.models.convert.hugging_face import export_hugging_face
from trueformer.training.checkpoints import save_checkpoint
from trueformer.training.config import RunConfig
from trueformer.training.folders import checkpoint_path
from trueformer.training.manifest import write_json


def export_model(source: str | Path, folder: Path, *, dtype: torch.dtype | None = None) -> Path:
    """Write the model at `source` (anything `load_model` takes) as a Hugging Face folder, in float32 if None.

    Raises:
        ValueError: as `load_model` and `export_hugging_face` do.
    """
    loaded = load_model(source, dtype=dtype)
    return export_hugging_face(
        loaded.model, loaded.tokenizer, folder, chat_template=loaded.chat_template, dtype=dtype
    )


def import_model(source: str | Path, run_folder: Path) -> Path:
    """Write the model at `source` as the first checkpoint (step 0) of a new run; returns the checkpoint.

    Raises:
        ValueError: as `load_model` does; the run folder already has contents.
        OSError: the disk is too full or cannot be written.
    """
    if run_folder.exists() and (not run_folder.is_dir() or any(run_folder.iterdir())):
        raise ValueError(
            f"{run_folder} exists and is not an empty folder: choose another, or remove it first"
        )
    loaded = load_model(source)
    data = DataConfig(seq_len=min(DataConfig().seq_len, loaded.config.max_len))
    if loaded.tokenizer is not None:  # further training must not make another
        data = replace(data, tokenizer=str(run_folder.absolute() / "tokenizer.json"))
    config = to_dict(RunConfig(model=loaded.config, data=data))
    run_folder.mkdir(parents=True, exist_ok=True)
    saved = save_checkpoint(
        checkpoint_path(run_folder, 0),
        model_tensors={name: p.detach() for name, p in loaded.model.named_parameters()},
        optimizer_tensors={},
        state={"imported_from": loaded.source, "chat_template": loaded.chat_template},
        config=config,
        tokenizer=loaded.tokenizer,
    )
    write_json(run_folder / "config.json", config)
    if loaded.tokenizer is not None:
        loaded.tokenizer.save(run_folder / "tokenizer.json")
    return saved
