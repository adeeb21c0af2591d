"""The position-wise feed-forward layer: SwiGLU, GELU (exact or tanh) or squared ReLU.

Shapes: B batch, T length, D d_model, F d_ff.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trueformer.models.config import DecoderConfig


class FeedForward(nn.Module):
    """down(silu(gate(x)) · up(x)) for swiglu (arXiv 2002.05202), else down(activation(up(x))).

    ReLU²: arXiv 2109.08668. GELU: arXiv 1606.08415; `gelu_tanh` is GPT-2's approximation of it.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.kind = config.feed_forward
        bias = config.feed_forward_bias
        assert config.d_ff is not None
        self.gate = nn.Linear(config.d_model, config.d_ff, bias=bias) if self.kind == "swiglu" else None
        self.up = nn.Linear(config.d_model, config.d_ff, bias=bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=bias)

    def forward(self, x_BTD: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        up_BTF = self.up(x_BTD)
        if self.gate is not None:
            return self.down(F.silu(self.gate(x_BTD)) * up_BTF)
        if self.kind == "relu2":
            return self.down(F.relu(up_BTF).square())
        return self.down(gelu_tanh(up_BTF) if self.kind == "gelu_tanh" else F.gelu(up_BTF))


def gelu_tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x (1 + tanh u) / 2 with u = √(2/π) (x + 0.044715 x³), GPT-2's approximation of GELU.

    That is x σ(2u), which a compiler turns into code twice as fast on a CPU: it has no quick tanh.
    """
    if not torch.compiler.is_compiling():
        return F.gelu(x, approximate="tanh")
    x32 = x.float()
    u = math.sqrt(2 / math.pi) * (x32 + 0.044715 * x32 * x32 * x32)
    return (x32 * torch.sigmoid(2 * u)).to(x.dtype)
