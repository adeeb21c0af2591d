"""A finished run as the doctor sees it.

check(**of_run(Path("runs/shakespeare")))          # what `trueformer check run:runs/shakespeare` does
"""

import copy
import dataclasses
from pathlib import Path
from typing import Any

from trueformer.as_subject import of_config
from trueformer.data.shards import prepare
from trueformer.load import load_model
from trueformer.training.config import RunConfig
from trueformer.training.data import TextData
from trueformer.training.run_folder import saved_config


def of_run(folder: str | Path) -> dict[str, Any]:
    """A run's model with all of its parts, or a checkpoint's or export's with those that can be had.

    Raises:
        ValueError: there is no such run, or nothing in it that can be read.
    """
    path = Path(folder)
    loaded = load_model(path)
    if not (path / "checkpoints").is_dir():
        return {"model": loaded.model, "tokenizer": loaded.tokenizer, "max_len": loaded.config.max_len}
    config = saved_config(path)
    if not isinstance(config, RunConfig):
        return {"model": loaded.model, "tokenizer": loaded.tokenizer, "max_len": loaded.config.max_len}
    config = copy.deepcopy(config)
    config = dataclasses.replace(config, loop=dataclasses.replace(config.loop, compile=False, device="cpu"))
    return of_config(config, TextData(prepare(config.data), config.data), loaded.model)
