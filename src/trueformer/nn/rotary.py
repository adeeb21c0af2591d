"""Rotary positions: pairs of query and key channels turned by position × frequency (arXiv 2104.09864).

Any base, four ways of stretching to longer texts, both pair layouts, and widths below head_dim. Tables are
float32 whatever the model's dtype. Values are never turned.

Shapes: B batch, T query length, N heads, H head_dim, R = rope_dim / 2 channel pairs.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trueformer.models.config import DecoderConfig, RopeScaling
from trueformer.nn import plain
from trueformer.nn.plain import Backend
from trueformer.nn.tables import FixedTables

Rotation = tuple[Tensor, Tensor]  # cos_BTR, sin_BTR; B may be 1


def rotary_frequencies(
    rope_dim: int, base: float, scaling: RopeScaling | None = None
) -> tuple[Float[Tensor, "R"], float]:
    """Radians a position for each channel pair, in float64, and what YaRN multiplies cos and sin by (else 1).

    Example: `rotary_frequencies(4, 100.0)` is `[1.0, 0.1]`: base^(-2r / rope_dim).
    """
    exponent_R = torch.arange(0, rope_dim, 2, dtype=torch.float64) / rope_dim
    frequency_R = base**-exponent_R
    if scaling is None:
        return frequency_R, 1.0
    if scaling.kind == "linear":
        return frequency_R / scaling.factor, 1.0
    if scaling.kind == "ntk":
        return (base * scaling.factor ** (rope_dim / (rope_dim - 2))) ** -exponent_R, 1.0
    if scaling.kind == "llama3":
        return _llama3(frequency_R, scaling), 1.0
    return _yarn(frequency_R, rope_dim, base, scaling)


def _llama3(frequency_R: Tensor, scaling: RopeScaling) -> Tensor:
    """Waves turning often within the trained length stay, the longest stretch, a blend between (Llama 3)."""
    turns_R = scaling.original_max_len * frequency_R / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    keep_R = ((turns_R - low) / (high - low)).clamp(0, 1)
    return keep_R * frequency_R + (1 - keep_R) * frequency_R / scaling.factor


def _yarn(frequency_R: Tensor, rope_dim: int, base: float, scaling: RopeScaling) -> tuple[Tensor, float]:
    """A blend linear in the channel, from the pair turning beta_fast times to that turning beta_slow."""

    def pair_turning(turns: float) -> float:
        return rope_dim * math.log(scaling.original_max_len / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(pair_turning(scaling.beta_fast)), 0)
    high = min(math.ceil(pair_turning(scaling.beta_slow)), rope_dim - 1)
    width = high - low if high != low else 0.001  # as in the authors' code: no division by zero
    pair_R = torch.arange(len(frequency_R), dtype=torch.float64)
    keep_R = 1 - ((pair_R - low) / width).clamp(0, 1)
    attention_factor = scaling.attention_factor
    if attention_factor is None:
        attention_factor = 0.1 * math.log(scaling.factor) + 1.0
    return keep_R * frequency_R + (1 - keep_R) * frequency_R / scaling.factor, attention_factor


class Rotary(FixedTables):
    """Cosines and sines for every position up to max_len, as non-persistent float32 buffers."""

    cos_PR: Tensor
    sin_PR: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.build(torch.get_default_device())

    def make_tables(self) -> dict[str, Tensor]:
        config = self.config
        assert config.rope_dim is not None
        frequency_R, factor = rotary_frequencies(config.rope_dim, config.rope_base, config.rope_scaling)
        angle_PR = torch.arange(config.max_len, dtype=torch.float64)[:, None] * frequency_R
        return {"cos_PR": angle_PR.cos() * factor, "sin_PR": angle_PR.sin() * factor}

    def forward(self, positions_BT: Int[Tensor, "B T"]) -> Rotation:
        """Cosines and sines (B, T, R) of the given positions, each below max_len."""
        return self.cos_PR[positions_BT], self.sin_PR[positions_BT]


def apply_rotary(
    x_BTNH: Float[Tensor, "B T N H"],
    rotation: Rotation,
    layout: Literal["half", "interleaved"],
    backend: Backend = "fast",
) -> Float[Tensor, "B T N H"]:
    """Turn the first 2R channels of every head in float32; the result has the input's dtype."""
    cos_BTR, sin_BTR = rotation
    B, T = x_BTNH.shape[:2]
    assert cos_BTR.shape == sin_BTR.shape, "one cosine for each sine"
    assert cos_BTR.shape[0] in (1, B), "a table for each row, or one for all"
    assert cos_BTR.shape[1] == T, "a table row for each token"
    if backend == "plain":
        return plain.plain_apply_rotary(x_BTNH, cos_BTR, sin_BTR, layout)
    H, R = x_BTNH.shape[-1], cos_BTR.shape[-1]
    cos_BT1R, sin_BT1R = cos_BTR[:, :, None], sin_BTR[:, :, None]
    turned, rest = x_BTNH[..., : 2 * R].float(), x_BTNH[..., 2 * R :]
    if layout == "half":
        a, b = turned[..., :R], turned[..., R:]
        y = torch.cat([a * cos_BT1R - b * sin_BT1R, a * sin_BT1R + b * cos_BT1R], dim=-1)
    else:
        a, b = turned[..., 0::2], turned[..., 1::2]
        y = torch.stack([a * cos_BT1R - b * sin_BT1R, a * sin_BT1R + b * cos_BT1R], dim=-1).flatten(-2)
    y = y.to(x_BTNH.dtype)
    return y if H == 2 * R else torch.cat([y, rest], dim=-1)
