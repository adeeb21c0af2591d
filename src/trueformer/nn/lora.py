"""Low-rank adaptation: frozen linear layers with a small trained correction beside each (arXiv 2106.09685).

    y = W x + (alpha / rank) B (A x),   A drawn, B zero: training begins at the base model

`merged` folds the corrections into the weights: what comes out is an ordinary model of the same size. Leaves
out adapters kept apart from their base.

Shapes: I in, O out, R rank.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trueformer.models.config import LoraConfig

A, B = "lora_a", "lora_b"


class LoraLinear(nn.Module):
    """A linear layer, frozen, and its correction; weights keep their names."""

    def __init__(self, linear: nn.Linear, config: LoraConfig) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = config.alpha / config.rank
        wide = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_a = nn.Parameter(torch.empty(config.rank, linear.in_features, **wide))
        self.lora_b = nn.Parameter(torch.zeros(linear.out_features, config.rank, **wide))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))  # as in the paper's code

    def forward(self, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        """The layer's output with the correction."""
        return F.linear(x, self.weight, self.bias) + self.scale * (x @ self.lora_a.T) @ self.lora_b.T


def add_lora(model: nn.Module, config: LoraConfig) -> None:
    """Freeze the model and put a correction beside every linear layer but the head."""
    model.requires_grad_(False)
    for parent in [*model.modules()]:
        for name, child in [*parent.named_children()]:
            if isinstance(child, nn.Linear) and name != "head":
                setattr(parent, name, LoraLinear(child, config))


def merged(tensors: Mapping[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """The tensors of a model with corrections as those of the ordinary model that computes the same."""
    whole = {name: tensor for name, tensor in tensors.items() if not name.endswith((A, B))}
    for name in [name for name in tensors if name.endswith(A)]:
        stem = name.removesuffix(A)
        a_RI, b_OR, weight = tensors[name].float(), tensors[stem + B].float(), whole[stem + "weight"]
        change_OI = (config.alpha / config.rank) * b_OR @ a_RI
        whole[stem + "weight"] = (weight.float() + change_OI).to(weight.dtype)
    return whole
