"""Weight-only int8: every matrix in 8 bits with one scale an output channel; activations stay as they are.

Decoding reads each weight once a token, so half the bytes of bfloat16 is up to twice the speed. In bfloat16
on a CPU the conversion happens in registers, eager or compiled (`compiled.py`); elsewhere the weights are
converted at every call, which is slower than not quantising. The token embedding stays in its own type, for
it is looked up row by row; a tied head becomes an int8 matrix of its own. Leaves out training, groups within
a channel, and layers whose input is not a multiple of 64 wide, which keep their type.

Shapes: D input width, E output width.
"""

import copy
import dataclasses

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8
from torch import Tensor, nn

from trueformer.models.decoder import DecoderLM

# torch's kernel works on blocks of 64; several rows of a width not a multiple of 16 crash it (torch 2.13).
WIDTH = 64


class Int8Linear(nn.Module):
    """x · (weight · scale)ᵀ + bias, symmetric: scale is a channel's greatest weight / 127."""

    weight_ED: Tensor
    scale_E: Tensor

    def __init__(self, weight: Float[Tensor, "E D"], bias: Float[Tensor, "E"] | None) -> None:
        super().__init__()
        weight_ED, scale_E = quantized(weight)
        self.register_buffer("weight_ED", weight_ED)
        self.register_buffer("scale_E", scale_E)
        self.bias = bias

    @property
    def weight(self) -> Float[Tensor, "E D"]:
        """The matrix that this layer stands for."""
        return self.weight_ED.to(self.scale_E.dtype) * self.scale_E[:, None]

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch E"]:
        if x.dtype == torch.bfloat16 and x.device.type == "cpu":
            y = torch._weight_int8pack_mm(x.flatten(0, -2), self.weight_ED, self.scale_E)
            y = y.unflatten(0, x.shape[:-1])
        else:  # torch's kernel is slow in float32: a scalar loop
            y = F.linear(x, self.weight)
        return y if self.bias is None else y + self.bias


def quantized(weight_ED: Float[Tensor, "E D"]) -> tuple[Int8[Tensor, "E D"], Float[Tensor, "E"]]:
    """Whole numbers from -127 to 127 and their scales, in the weight's type, so that their product is close.

    Each weight is off by at most half its channel's scale, and 1 / 256 of itself where the scale is bfloat16.
    """
    largest_E = weight_ED.float().abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    # Weights are divided by the scale as it is stored, so that its own rounding costs nothing.
    scale_E = (largest_E / 127).to(weight_ED.dtype)
    rounded_ED = (weight_ED.float() / scale_E.float()[:, None]).round().clamp(-127, 127)
    return rounded_ED.to(torch.int8), scale_E


def quantize_int8(model: DecoderLM) -> DecoderLM:
    """A copy of `model` in evaluation mode whose linear layers and head are int8; `model` stays as it is."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    head = Int8Linear(model.head_weight, None) if model.config.d_model % WIDTH == 0 else None
    for block in model.blocks:
        for part in (block.attention, block.feed_forward):
            assert isinstance(part, nn.Module)
            for name, layer in list(part.named_children()):
                if isinstance(layer, nn.Linear) and layer.in_features % WIDTH == 0:
                    setattr(part, name, Int8Linear(layer.weight, layer.bias))
    if head is not None:
        model.head = head  # type: ignore[assignment]
        model.config = dataclasses.replace(model.config, tied=False)
    return model
