"""Where each of our parameters lives in other people's files, as data, and the moves between the two.

A table maps our name (with `{i}` for the layer) to a `Place`: their name and how the tensor is laid out
there. Everything else here works on any such table, so that a new family is a new table. Leaves out reading
and writing files (`hugging_face`, `gguf`) and configurations (`configs`).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor

from trueformer.models.config import DecoderConfig

FUSED = 3  # GPT-2 keeps query, key and value in one matrix

Shape = tuple[int, ...]


class Place(NamedTuple):
    """A tensor in someone else's file, and what must be done to read ours out of it."""

    name: str
    part: int | None = None  # which third of a fused query-key-value tensor
    transposed: bool = False  # stored (in, out), as GPT-2's Conv1D keeps it
    rotary_pairs: bool = (
        False  # rows of each head stored as interleaved rotary pairs, as GGUF keeps Llama's q and k
    )


def _both(ours: str, theirs: str, **how: int | bool) -> dict[str, Place]:
    """A layer's weight and bias. A bias has one dimension, so there is nothing to transpose."""
    bias = {key: value for key, value in how.items() if key != "transposed"}
    return {
        f"{ours}.weight": Place(f"{theirs}.weight", **how),  # type: ignore[arg-type]
        f"{ours}.bias": Place(f"{theirs}.bias", **bias),  # type: ignore[arg-type]
    }


def _qkv(theirs: str, *, transposed: bool) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for part, ours in enumerate("qkv"):
        places |= _both(f"blocks.{{i}}.attention.{ours}", theirs, part=part, transposed=transposed)
    return places


LLAMA: dict[str, Place] = {  # Qwen3 is Llama with two norms more
    "embedding.weight": Place("model.embed_tokens.weight"),
    "blocks.{i}.attention_norm.weight": Place("model.layers.{i}.input_layernorm.weight"),
    **_both("blocks.{i}.attention.q", "model.layers.{i}.self_attn.q_proj"),
    **_both("blocks.{i}.attention.k", "model.layers.{i}.self_attn.k_proj"),
    **_both("blocks.{i}.attention.v", "model.layers.{i}.self_attn.v_proj"),
    **_both("blocks.{i}.attention.out", "model.layers.{i}.self_attn.o_proj"),
    "blocks.{i}.attention.q_norm.weight": Place("model.layers.{i}.self_attn.q_norm.weight"),
    "blocks.{i}.attention.k_norm.weight": Place("model.layers.{i}.self_attn.k_norm.weight"),
    "blocks.{i}.feed_forward_norm.weight": Place("model.layers.{i}.post_attention_layernorm.weight"),
    **_both("blocks.{i}.feed_forward.gate", "model.layers.{i}.mlp.gate_proj"),
    **_both("blocks.{i}.feed_forward.up", "model.layers.{i}.mlp.up_proj"),
    **_both("blocks.{i}.feed_forward.down", "model.layers.{i}.mlp.down_proj"),
    "final_norm.weight": Place("model.norm.weight"),
    "head.weight": Place("lm_head.weight"),
}

GPT2: dict[str, Place] = {
    "embedding.weight": Place("transformer.wte.weight"),
    "positions.weight": Place("transformer.wpe.weight"),
    **_both("blocks.{i}.attention_norm", "transformer.h.{i}.ln_1"),
    **_qkv("transformer.h.{i}.attn.c_attn", transposed=True),
    **_both("blocks.{i}.attention.out", "transformer.h.{i}.attn.c_proj", transposed=True),
    **_both("blocks.{i}.feed_forward_norm", "transformer.h.{i}.ln_2"),
    **_both("blocks.{i}.feed_forward.up", "transformer.h.{i}.mlp.c_fc", transposed=True),
    **_both("blocks.{i}.feed_forward.down", "transformer.h.{i}.mlp.c_proj", transposed=True),
    **_both("final_norm", "transformer.ln_f"),
    "head.weight": Place("lm_head.weight"),
}

HUGGING_FACE = {"gpt2": GPT2, "llama": LLAMA, "qwen3": LLAMA}

_GGUF: dict[str, Place] = {
    "embedding.weight": Place("token_embd.weight"),
    "positions.weight": Place("position_embd.weight"),
    **_both("blocks.{i}.attention_norm", "blk.{i}.attn_norm"),
    **_both("blocks.{i}.attention.q", "blk.{i}.attn_q"),
    **_both("blocks.{i}.attention.k", "blk.{i}.attn_k"),
    **_both("blocks.{i}.attention.v", "blk.{i}.attn_v"),
    **_both("blocks.{i}.attention.out", "blk.{i}.attn_output"),
    "blocks.{i}.attention.q_norm.weight": Place("blk.{i}.attn_q_norm.weight"),
    "blocks.{i}.attention.k_norm.weight": Place("blk.{i}.attn_k_norm.weight"),
    **_both("blocks.{i}.feed_forward_norm", "blk.{i}.ffn_norm"),
    **_both("blocks.{i}.feed_forward.gate", "blk.{i}.ffn_gate"),
    **_both("blocks.{i}.feed_forward.up", "blk.{i}.ffn_up"),
    **_both("blocks.{i}.feed_forward.down", "blk.{i}.ffn_down"),
    **_both("final_norm", "output_norm"),
    "head.weight": Place("output.weight"),
}

GGUF = {
    "qwen3": _GGUF,
    "gpt2": _GGUF | _qkv("blk.{i}.attn_qkv", transposed=False),
    "llama": _GGUF
    | _both("blocks.{i}.attention.q", "blk.{i}.attn_q", rotary_pairs=True)
    | _both("blocks.{i}.attention.k", "blk.{i}.attn_k", rotary_pairs=True),
}

# Buffers that older writers saved beside the weights: causal masks and rotary frequencies.
NOT_WEIGHTS = re.compile(r"\.attn\.(bias|masked_bias)$|\.rotary_emb\.inv_freq$")


def places(table: Mapping[str, Place], ours: Iterable[str]) -> dict[str, Place]:
    """Our parameter names → where each one is in the other file."""
    found = {}
    for name in ours:
        layer = re.search(r"\.(\d+)\.", name)
        template = name.replace(layer.group(0), ".{i}.", 1) if layer else name
        assert template in table, (
            f"{name} has no counterpart: `configs.architecture_of` should have refused it"
        )
        place = table[template]
        found[name] = place._replace(name=place.name.format(i=layer.group(1) if layer else ""))
    return found


def their_shapes(shapes: Mapping[str, Shape], at: Mapping[str, Place]) -> dict[str, Shape]:
    """The shapes the other file must hold for our `shapes`."""
    theirs = {}
    for name, place in at.items():
        shape = shapes[name]
        if place.part is not None:
            shape = (FUSED * shape[0], *shape[1:])
        theirs[place.name] = shape[::-1] if place.transposed else shape
    return theirs


def to_ours(theirs: Tensor, place: Place, config: DecoderConfig) -> Tensor:
    """One of our tensors out of the tensor that holds it."""
    ours = theirs.T if place.transposed else theirs
    if place.part is not None:
        ours = ours.chunk(FUSED, dim=0)[place.part]
    return pairs_to_halves(ours, config.head_dim) if place.rotary_pairs else ours  # type: ignore[arg-type]


def to_theirs(at: Mapping[str, Place], read: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """All of their tensors from ours, the inverse of `to_ours` for tables without rotary pairs."""
    parts: dict[str, list[str]] = {}
    for name, place in at.items():
        assert not place.rotary_pairs, "GGUF is read, never written"
        parts.setdefault(place.name, []).append(name)
    theirs = {}
    for name, ours in parts.items():
        joined = torch.cat([read(part) for part in ours], dim=0) if len(ours) > 1 else read(ours[0])
        theirs[name] = (joined.T if at[ours[0]].transposed else joined).contiguous()
    return theirs


def pairs_to_halves(rows: Shaped[Tensor, "rows *columns"], head_dim: int) -> Shaped[Tensor, "rows *columns"]:
    """Reorder each head's rows from rotary pairs (0,1),(2,3),… to halves (0,H/2),(1,H/2+1),….

    Queries and keys reordered alike have the same products, so the two layouts are one model.
    Example: rows [a0 b0 a1 b1] of a head of 4 become [a0 a1 b0 b1].
    """
    heads = rows.reshape(-1, head_dim // 2, 2, *rows.shape[1:])
    return heads.transpose(1, 2).reshape(rows.shape)
