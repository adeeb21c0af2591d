"""Linear layers over weights laid out once for oneDNN, which otherwise lays them out anew in every product.

On a CPU it makes uncompiled passes over a few tokens up to twice as fast, for any number of rows. The copy is
a snapshot: matrices changed afterwards are not seen. Leaves out training, and devices and types without
oneDNN, where the model stays as it is.

Shapes: N rows, M rows with spare ones, D input width, E output width.
"""

import copy
import dataclasses

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trueformer.models.decoder import DecoderLM

# oneDNN keeps a kernel for each number of rows it has seen: with all from 1 to 100 that is some 100 MB.
STEP = 8
ROWS = 64  # the layout is made for about so many; measured to serve 1 to 300 alike


class PackedLinear(nn.Module):
    """x · weightᵀ + bias, as `nn.Linear`."""

    def __init__(self, weight_ED: Float[Tensor, "E D"], bias_E: Float[Tensor, "E"] | None) -> None:
        super().__init__()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight_ED.detach(), ROWS)
        self._bias_E = bias_E

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch E"]:
        n = x.shape[:-1].numel()
        spare = -n % STEP if n > STEP else 0
        if not spare:
            return self._product(x)
        x_MD = F.pad(x.reshape(n, x.shape[-1]), (0, 0, 0, spare))
        return self._product(x_MD)[:n].view(*x.shape[:-1], -1)

    def _product(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias_E, "none", [], "")


def can_pack(weight: Tensor) -> bool:
    """Whether this machine's oneDNN multiplies matrices of that type."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return weight.dtype == torch.float32


@torch.inference_mode()
def packed(model: DecoderLM) -> DecoderLM:
    """A copy whose linear layers and head are packed, and which shares all else; `model` stays as it is."""
    if not can_pack(model.embedding.weight):
        return model
    shared = [*model.parameters(), *model.buffers()]
    copied = copy.deepcopy(model, {id(tensor): tensor for tensor in shared})
    for parent in list(copied.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, PackedLinear(layer.weight, layer.bias))
    copied.head = PackedLinear(model.head_weight, None)  # type: ignore[assignment]
    copied.config = dataclasses.replace(model.config, tied=False)
    return copied
