"""Import from and export to Hugging Face folders: config.json, safetensors, tokenizer.json and companions.

An export is a stock model: transformers runs it unchanged (tested), and so can what else reads such folders.
Which of our models are stock ones is decided in `configs`; where their tensors are is data in `names`. Leaves
out pickled weights, quantised ones, and other families than GPT-2, Llama and Qwen3.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from trueformer.models.config import DecoderConfig
from trueformer.models.convert.build import build_from_theirs
from trueformer.models.convert.configs import architecture_of, from_hugging_face, to_hugging_face
from trueformer.models.convert.files import Tensors, open_safetensors, read_json
from trueformer.models.convert.names import HUGGING_FACE, NOT_WEIGHTS, pairs_to_halves, places, to_theirs
from trueformer.models.decoder import DecoderLM
from trueformer.models.loaded import LoadedModel
from trueformer.nn.plain import Backend
from trueformer.tokenization.load import load_tokenizer
from trueformer.tokenization.protocol import Tokenizer

HEAD = "lm_head.weight"


def import_hugging_face(
    folder: Path, *, dtype: torch.dtype | None = None, backend: Backend = "fast"
) -> LoadedModel:
    """The model and tokenizer of a Hugging Face folder; weights in `dtype`, float32 if None.

    Raises:
        ValueError: another architecture, tensors that do not fit the configuration, weights that are not
            safetensors, or a tokenizer that does not fit the model.
    """
    values = read_json(folder / "config.json")
    config = from_hugging_face(values, str(folder / "config.json"))
    table = HUGGING_FACE[values["model_type"]]
    with open_safetensors(folder) as tensors:
        stored = _stored_names(tensors, table["embedding.weight"].name)
        if config.tied and HEAD in stored:
            _check_tied(tensors, stored, table["embedding.weight"].name, folder)
        model = build_from_theirs(
            config,
            table,
            {name: tensors[held] for name, held in stored.items()},
            lambda name: tensors.read(stored[name]),
            where=str(folder),
            dtype=dtype or torch.float32,
            backend=backend,
        )
    tokenizer = None
    if (folder / "tokenizer.json").exists():
        tokenizer = load_tokenizer(folder, otherwise=_special_ids(values))
    check_tokenizer(tokenizer, config, str(folder))
    template = _chat_template(folder)
    return LoadedModel(
        model=model, tokenizer=tokenizer, config=config, source=str(folder), chat_template=template
    )


def _stored_names(tensors: Tensors, embedding: str) -> dict[str, str]:
    """Full name → the name in the file, where a model saved without head lacks the "model." in front."""
    prefix = embedding.split(".", 1)[0] + "."
    bare = embedding not in tensors and embedding.removeprefix(prefix) in tensors
    names = [name for name in tensors if not NOT_WEIGHTS.search(name)]
    return {prefix + name if bare and name != HEAD else name: name for name in names}


def _check_tied(tensors: Tensors, stored: dict[str, str], embedding: str, folder: Path) -> None:
    """Some writers store a tied head as well; it must then be the embedding."""
    held = stored.pop(HEAD)
    if embedding in stored and not torch.equal(tensors.read(held), tensors.read(stored[embedding])):
        raise ValueError(
            f"{folder}: tie_word_embeddings is true and {HEAD} differs from {embedding}: expected the same "
            "values; set it to false in config.json if the model was trained with a head of its own"
        )


def check_tokenizer(tokenizer: Tokenizer | None, config: DecoderConfig, where: str) -> None:
    """Raises ValueError if the tokenizer makes ids that the model has no embedding for (finding T15)."""
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"{where}: the tokenizer has {tokenizer.vocab_size} tokens and the model embeds "
            f"{config.vocab_size}: expected the tokenizer the model was trained with"
        )


def _special_ids(values: dict[str, Any]) -> dict[str, int]:
    """What config.json says of BOS, EOS and PAD, for tokenizers that do not say, such as GPT-2's."""
    ids = {role: values.get(f"{role}_token_id") for role in ("bos", "eos", "pad")}
    firsts = {role: found[0] if isinstance(found, list) and found else found for role, found in ids.items()}
    return {role: token for role, token in firsts.items() if type(token) is int}


def _chat_template(folder: Path) -> str | None:
    if (folder / "chat_template.jinja").exists():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    path = folder / "tokenizer_config.json"
    template = read_json(path).get("chat_template") if path.exists() else None
    if isinstance(template, list):  # several, named
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
    if template is not None and not isinstance(template, str):
        raise ValueError(f"{path}: chat_template is a {type(template).__name__}, expected text")
    return template


def export_hugging_face(
    model: DecoderLM,
    tokenizer: Tokenizer | None,
    folder: Path,
    *,
    chat_template: str | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write `folder`, whole or not at all, with weights in `dtype`, or in the model's own if None.

    Raises:
        ValueError: no stock architecture computes the same (names the field), or the folder has contents.
    """
    values = to_hugging_face(model.config)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not an empty folder: choose another, or remove it first")
    dtype = dtype or next(model.parameters()).dtype
    ids = {} if tokenizer is None else _ids(tokenizer)
    with _whole_folder(folder) as partial:
        weights, config = partial / "model.safetensors", partial / "config.json"
        save_file(_their_tensors(model, dtype), weights, metadata={"format": "pt"})
        _write_json(config, values | ids | {"torch_dtype": str(dtype).removeprefix("torch.")})
        weights.chmod(config.stat().st_mode)  # the library lets only its user read them
        _write_json(partial / "generation_config.json", ids)
        if tokenizer is not None:
            tokenizer.save(partial / "tokenizer.json")
            _write_json(
                partial / "tokenizer_config.json",
                _tokenizer_config(tokenizer, model.config.max_len, chat_template),
            )
    return folder


def _ids(tokenizer: Tokenizer) -> dict[str, int]:
    return {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
    }


@torch.no_grad()
def _their_tensors(model: DecoderLM, dtype: torch.dtype) -> dict[str, Tensor]:
    config, parameters = model.config, dict(model.named_parameters())
    at = places(HUGGING_FACE[architecture_of(config)], parameters)

    def read(name: str) -> Tensor:
        tensor = parameters[name].detach().to("cpu", dtype)
        turned = ".attention.q" in name or ".attention.k" in name
        if turned and config.positions == "rope" and config.rope_layout == "interleaved":
            return pairs_to_halves(tensor, config.head_dim)  # type: ignore[arg-type]
        return tensor

    return to_theirs(at, read)


def _tokenizer_config(tokenizer: Tokenizer, max_len: int, chat_template: str | None) -> dict[str, Any]:
    names = {token: name for name, token in tokenizer.special_ids.items()}
    roles = {
        "bos": tokenizer.bos_id,
        "eos": tokenizer.eos_id,
        "pad": tokenizer.pad_id,
        "unk": tokenizer.unk_id,
    }
    return {
        # The class that takes tokenizer.json as it is; a family's own class would split text its own way.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_len,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": names[token] for role, token in roles.items() if token is not None},
        **({} if chat_template is None else {"chat_template": chat_template}),
    }


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A sibling to write into, renamed to `folder` at the end and removed if anything fails."""
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
