"""How big a decoder is, from its configuration alone: parameters, FLOPs a token, memory to train and decode.

Leaves out torch: `--dry-run` answers without building anything. Parameters and cache bytes are exact; memory
for activations is an estimate of what the fused kernels keep for the backward pass, without the attention
weights that `nn/short.py` keeps.
"""

from dataclasses import dataclass
from typing import Literal

from trueformer.models.config import DecoderConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterCount:
    """Numbers of trained weights. A tied matrix is counted once, as embedding."""

    embedding: int  # token embedding and learned positions
    head: int  # untied heads only
    matrices: int  # two-dimensional weights inside the blocks
    vectors: int  # norms, biases, sinks

    @property
    def total(self) -> int:
        """All parameters."""
        return self.embedding + self.head + self.matrices + self.vectors

    @property
    def non_embedding(self) -> int:
        """All but embedding and head: what scaling laws count."""
        return self.matrices + self.vectors


def count_parameters(config: DecoderConfig) -> ParameterCount:
    """The weights that `DecoderLM(config)` has."""
    D, V, F = config.d_model, config.vocab_size, config.d_ff
    H, query, key = _head_widths(config)
    assert F is not None
    in_feed_forward = 2 if config.feed_forward == "swiglu" else 1
    norm = 2 * D if config.norm == "layernorm" else D
    vectors = 2 * norm
    vectors += 2 * H if config.qk_norm else 0
    vectors += config.n_heads if config.attention_sinks else 0
    vectors += query + 2 * key + D if config.attention_bias else 0
    vectors += in_feed_forward * F + D if config.feed_forward_bias else 0
    return ParameterCount(
        embedding=V * D + (config.max_len * D if config.positions == "learned" else 0),
        head=0 if config.tied else V * D,
        matrices=config.n_layers * (2 * D * query + 2 * D * key + (in_feed_forward + 1) * D * F),
        vectors=config.n_layers * vectors + (norm if config.norm_placement == "pre" else 0),
    )


def training_flops_per_token(config: DecoderConfig, seq_len: int) -> int:
    """Floating-point operations to train on a token: 6 a multiplied weight, 12 LNH a key (PaLM, appendix B).

    The lookup of an embedding multiplies nothing; the head does, tied or not. As in the paper a query is
    charged for all `seq_len` keys, though causality hides half of them; a window limits them.
    """
    _, query, _ = _head_widths(config)
    keys = seq_len if config.window is None else min(seq_len, config.window)
    weights = count_parameters(config).matrices + config.vocab_size * config.d_model
    return 6 * weights + 12 * config.n_layers * query * keys


def cache_bytes_per_token(config: DecoderConfig, *, bytes_per_value: int) -> int:
    """Bytes of keys and values that a `KVCache` keeps for one token."""
    _, _, key = _head_widths(config)
    return 2 * config.n_layers * key * bytes_per_value


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingMemory:
    """Bytes, by what they hold."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int  # an estimate

    @property
    def total(self) -> int:
        """All bytes."""
        return self.parameters + self.gradients + self.optimizer + self.activations


def training_memory(
    config: DecoderConfig,
    *,
    tokens: int,
    optimizer: Literal["adamw", "muon", "adamuon"],
    parameter_bytes: Literal[2, 4],
    compute_bytes: Literal[2, 4],
    masters: bool,
    loss_chunk: int,
) -> TrainingMemory:
    """Memory of one training step over `tokens` tokens a forward pass.

    `compute_bytes` is 2 under bf16 autocast, which keeps a copy of the weights. Optimizers keep float32: two
    values a weight, Muon one for matrices. `masters` are the low 16 bits of bf16 weights. The loss keeps
    logits of `loss_chunk` tokens and their gradient.
    """
    count = count_parameters(config)
    per_matrix = 4 if optimizer == "muon" else 8
    state = per_matrix * count.matrices + 8 * (count.total - count.matrices)
    state += 2 * count.total if masters and parameter_bytes == 2 else 0
    per_token = _activation_bytes(config, max(parameter_bytes, compute_bytes), compute_bytes)
    logits = 2 * 4 * min(tokens, loss_chunk) * config.vocab_size
    cast_weights = compute_bytes * count.total if compute_bytes < parameter_bytes else 0
    return TrainingMemory(
        parameters=parameter_bytes * count.total,
        gradients=parameter_bytes * count.total,
        optimizer=state,
        activations=tokens * per_token + logits + cast_weights,
    )


def _activation_bytes(config: DecoderConfig, stream: int, compute: int) -> int:
    """Bytes a token kept for the backward pass: the residual stream at its width, all else at `compute`."""
    D, F = config.d_model, config.d_ff
    _, query, key = _head_widths(config)
    assert F is not None
    attention = 2 * (query + key) + key + query  # before and after norm and rotation, values, the mix
    feed_forward = (4 if config.feed_forward == "swiglu" else 2) * F
    layer = 2 * D * stream + (2 * D + attention + feed_forward) * compute
    return config.n_layers * layer + 2 * D * stream


def _head_widths(config: DecoderConfig) -> tuple[int, int, int]:
    """Width of a head, of all query heads, of all key heads."""
    assert config.head_dim is not None
    assert config.n_kv_heads is not None
    return config.head_dim, config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
