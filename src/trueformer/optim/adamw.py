"""AdamW on lists of tensors: torch's fused kernel, with the state in our hands, to be saved by name."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from trueformer.optim.config import OptimConfig


class FusedAdamW:
    """The update rule of AdamW for a list of parameters."""

    def __init__(self, parameters: Sequence[Tensor], config: OptimConfig) -> None:
        self._config = config
        self.slots = {
            slot: [torch.zeros_like(p, dtype=torch.float32) for p in parameters]
            for slot in ("mean", "square")
        }

    def update(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], *, lr: float, decay: float, step: int
    ) -> None:
        """Move every float32 parameter by one step; `step` counts from 1."""
        device = parameters[0].device
        adamw(
            list(parameters),
            list(gradients),
            self.slots["mean"],
            self.slots["square"],
            [],
            [torch.tensor(step - 1.0, device=device) for _ in parameters],  # the kernel counts up itself
            fused=True,
            amsgrad=False,
            beta1=self._config.beta1,
            beta2=self._config.beta2,
            lr=lr,
            weight_decay=decay,
            eps=self._config.eps,
            maximize=False,
        )
