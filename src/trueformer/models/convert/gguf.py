"""Import from GGUF files: GPT-2, Llama (SmolLM2 among them) and Qwen3, with tokenizer and chat template.

Llama's queries and keys are stored in rotary pairs there and come back as halves, as Hugging Face has them,
so that an import can be exported again. Leaves out writing GGUF: llama.cpp converts what
`export_hugging_face` writes.
"""

from pathlib import Path
from typing import Any

import torch

from trueformer.config import from_dict
from trueformer.models.config import DecoderConfig, RopeScaling
from trueformer.models.convert.build import build_from_theirs
from trueformer.models.convert.gguf_file import GGUFFile
from trueformer.models.convert.gguf_tokenizer import tokenizer_from_gguf
from trueformer.models.convert.hugging_face import check_tokenizer
from trueformer.models.convert.names import GGUF
from trueformer.models.loaded import LoadedModel
from trueformer.nn.plain import Backend
from trueformer.nn.rotary import rotary_frequencies

ROPE_FACTORS = "rope_freqs.weight"
LLAMA3_LENGTH = 8192  # what all of Llama 3.1 to 3.3 were stretched from


def import_gguf(path: Path, *, dtype: torch.dtype | None = None, backend: Backend = "fast") -> LoadedModel:
    """The model, tokenizer and chat template of a GGUF file; weights in `dtype`, float32 if None.

    Raises:
        ValueError: a damaged file, another architecture, tensors that do not fit the metadata, or a tokenizer
            or a kind of tensor that is not supported.
        ImportError: the gguf package is missing; names the command that installs it.
    """
    file = GGUFFile(path)
    where = str(path)
    config = config_from_gguf(file)
    tokenizer = tokenizer_from_gguf(file)
    check_tokenizer(tokenizer, config, where)
    model = build_from_theirs(
        config,
        GGUF[file.metadata["general.architecture"]],
        {name: info.shape for name, info in file.tensors.items() if name != ROPE_FACTORS},
        file.read,
        where=where,
        dtype=dtype or torch.float32,
        backend=backend,
    )
    template = file.get("tokenizer.chat_template", str)
    return LoadedModel(model=model, tokenizer=tokenizer, config=config, source=where, chat_template=template)


def config_from_gguf(file: GGUFFile) -> DecoderConfig:
    """Our configuration from a file's metadata and the tensors it has.

    Raises:
        ValueError: another architecture, a missing or ill-typed value, or an unsupported rotary scaling.
    """
    kind = file.get("general.architecture", str)
    if kind not in GGUF:
        raise ValueError(f"{file.path}: general.architecture is {kind!r}, expected one of {', '.join(GGUF)}")
    need = _Needed(file, kind)
    values = {
        "max_len": need("context_length"),
        "d_model": need("embedding_length"),
        "n_layers": need("block_count"),
        "n_heads": need("attention.head_count"),
        "d_ff": need("feed_forward_length"),
        "vocab_size": _rows(file, "token_embd.weight"),
        "tied": "output.weight" not in file.tensors,
    }
    values |= _gpt2(need) if kind == "gpt2" else _llama(file, need, kind)
    return from_dict(DecoderConfig, values, str(file.path))


def _gpt2(need: "_Needed") -> dict[str, Any]:
    return {
        "positions": "learned",
        "norm": "layernorm",
        "norm_eps": need("attention.layer_norm_epsilon"),
        "qk_norm": False,
        "feed_forward": "gelu_tanh",
        "attention_bias": True,
        "feed_forward_bias": True,
    }


def _llama(file: GGUFFile, need: "_Needed", kind: str) -> dict[str, Any]:
    base = float(need("rope.freq_base", 10_000.0))
    rotary = need("rope.dimension_count", 0)
    width = need("attention.key_length", rotary)
    if rotary and rotary != width:
        raise ValueError(
            f"{file.path}: heads have {width} channels and {rotary} turn, expected all of them to"
        )
    return {
        "n_kv_heads": need("attention.head_count_kv", need("attention.head_count")),
        "head_dim": width or None,
        "norm_eps": need("attention.layer_norm_rms_epsilon"),
        "qk_norm": kind == "qwen3",
        "rope_base": base,
        "rope_scaling": _scaling(file, need, base),
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "feed_forward_bias": "blk.0.ffn_up.bias" in file.tensors,
    }


def _scaling(file: GGUFFile, need: "_Needed", base: float) -> dict[str, Any] | None:
    """Llama 3's scaling is a tensor of divisors, one a frequency; anything else is a name and a factor."""
    if ROPE_FACTORS in file.tensors:
        return _llama3_scaling(file, base)
    kind = file.get(f"{need.architecture}.rope.scaling.type", str, "none")
    if kind == "none":
        return None
    if kind != "linear":
        raise ValueError(f"{file.path}: rope.scaling.type is {kind!r}, expected none or linear")
    factor = need("rope.scaling.factor")
    length = max(1, int(need("context_length") // factor)) if factor > 0 else 1
    return {"kind": "linear", "factor": factor, "original_max_len": length}


def _llama3_scaling(file: GGUFFile, base: float) -> dict[str, Any]:
    """The scaling whose divisors these are: its largest is the factor, and the rest must then follow."""
    shape = file.tensors[ROPE_FACTORS].shape
    if len(shape) != 1 or not shape[0]:
        raise ValueError(
            f"{file.path}: {ROPE_FACTORS} is {list(shape)}, expected a divisor for each frequency"
        )
    divisors = file.read(ROPE_FACTORS)
    factor, width = divisors.max().item(), 2 * divisors.numel()
    scaling = RopeScaling(kind="llama3", factor=factor, original_max_len=LLAMA3_LENGTH)
    expected = rotary_frequencies(width, base)[0] / rotary_frequencies(width, base, scaling)[0]
    if not torch.allclose(divisors.double(), expected, rtol=1e-4):
        raise ValueError(
            f"{file.path}: {ROPE_FACTORS} is not Llama 3's scaling by {factor:g} "
            f"from {LLAMA3_LENGTH} positions, and no other is supported"
        )
    return {"kind": "llama3", "factor": factor, "original_max_len": LLAMA3_LENGTH}


def _rows(file: GGUFFile, name: str) -> int:
    if name not in file.tensors:
        raise ValueError(f"{file.path} has no tensor {name!r}: expected the weights of a whole model")
    return file.tensors[name].shape[0]


class _Needed:
    """Reads the number `<architecture>.<key>`, and says which one is missing."""

    def __init__(self, file: GGUFFile, architecture: str) -> None:
        self.file, self.architecture = file, architecture

    def __call__(self, key: str, default: int | float | None = None) -> Any:
        value = self.file.get(f"{self.architecture}.{key}", (int, float), default)
        if value is None:
            raise ValueError(f"{self.file.path}: {self.architecture}.{key} is missing, expected a number")
        return value
