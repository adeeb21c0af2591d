"""Files as llama.cpp writes them, made here from our own models with the `gguf` package."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from trueformer.models.config import DecoderConfig
from trueformer.models.convert.names import GGUF, places
from trueformer.models.decoder import DecoderLM
from trueformer.tokenization.bpe import ByteBPE

WriteGGUF = Callable[..., Path]


@pytest.fixture
def write_gguf(tmp_path: Path) -> WriteGGUF:
    """A function that writes a model (and tokenizer) as GGUF and returns the path."""
    return lambda *args, **kwargs: write(tmp_path / "model.gguf", *args, **kwargs)


def write(
    path: Path,
    model: DecoderLM,
    tokenizer: ByteBPE,
    *,
    architecture: str,
    kind: str = "F32",
    split: str = "llama-bpe",
    extra: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata(model.config, architecture).items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"{architecture}.{key}", value)
    add_tokenizer(writer, tokenizer, split)
    for key, value in (extra or {}).items():
        (writer.add_string if isinstance(value, str) else writer.add_float32)(key, value)
    for name, values in (their_arrays(model, architecture) | (tensors or {})).items():
        quantised = gguf.GGMLQuantizationType[kind if values.ndim == 2 else "F32"]
        raw = gguf.quants.quantize(values, quantised)
        writer.add_tensor(name, raw, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def metadata(config: DecoderConfig, architecture: str) -> dict[str, int | float]:
    common = {
        "block_count": config.n_layers,
        "context_length": config.max_len,
        "embedding_length": config.d_model,
        "feed_forward_length": config.d_ff,
        "attention.head_count": config.n_heads,
    }
    if architecture == "gpt2":
        return common | {"attention.layer_norm_epsilon": float(config.norm_eps)}
    width = "attention.key_length" if architecture == "qwen3" else "rope.dimension_count"
    return common | {
        "attention.head_count_kv": config.n_kv_heads,
        "attention.layer_norm_rms_epsilon": float(config.norm_eps),
        "rope.freq_base": float(config.rope_base),
        width: config.head_dim,
    }


def their_arrays(model: DecoderLM, architecture: str) -> dict[str, np.ndarray]:
    """Our tensors under their names: rows of Llama's q and k in rotary pairs, GPT-2's q, k and v in one."""
    parameters = dict(model.named_parameters())
    arrays: dict[str, np.ndarray] = {}
    for name, place in places(GGUF[architecture], parameters).items():
        values = parameters[name].detach().numpy()
        if place.rotary_pairs:
            heads = values.reshape(-1, 2, model.config.head_dim // 2, *values.shape[1:])
            values = heads.swapaxes(1, 2).reshape(values.shape)
        arrays[place.name] = np.concatenate([arrays[place.name], values]) if place.name in arrays else values
    return arrays


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: ByteBPE, split: str) -> None:
    state = json.loads(tokenizer.library.to_str())
    vocab = tokenizer.library.get_vocab(with_added_tokens=True)
    kinds = {token["content"]: 3 if token["special"] else 4 for token in state["added_tokens"]}
    names = sorted(vocab, key=vocab.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(names)
    writer.add_token_types([kinds.get(name, 1) for name in names])
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_id)
    writer.add_eos_token_id(tokenizer.eos_id)
    writer.add_pad_token_id(tokenizer.pad_id)


@pytest.fixture
def shaken() -> Callable[[DecoderConfig], DecoderLM]:
    """A model whose every parameter is random, norms and biases too."""

    def make(config: DecoderConfig) -> DecoderLM:
        model = DecoderLM(config).eval()
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        return model

    return make
