"""How parameters stored in bf16 keep updates smaller than bf16 can show.

A bf16 number has 8 significant bits: adding less than 1/512 of its size changes nothing, and late in training
every update is smaller. Either the optimizer steps a float32 master copy of which the parameter is a
rounding, or the sum is rounded up or down at random with the chances that make it right on average. Float32
parameters are stepped directly.
"""

from typing import Literal

import torch
from torch import Tensor


class Precision:
    """Float32 stand-ins for the parameters of one group; `slots` holds master copies, if any."""

    def __init__(self, parameters: list[Tensor], bf16_updates: Literal["master", "stochastic"]) -> None:
        self._parameters = parameters
        self._low = [p.dtype != torch.float32 for p in parameters]
        self._masters = bf16_updates == "master" and any(self._low)
        self.slots: dict[str, list[Tensor]] = {}
        if self._masters:
            self.slots["master"] = [p.detach().to(torch.float32, copy=True) for p in parameters]

    def values(self) -> list[Tensor]:
        """What the update rule moves: the parameters themselves where they are float32."""
        if self._masters:
            return self.slots["master"]
        return [p.detach().float() for p in self._parameters]

    def write(self, values: list[Tensor], step: int) -> None:
        """Bring the moved values back into the parameters.

        Random rounding depends on `step` alone: the same after a resume and on every rank.
        """
        if not any(self._low):
            return
        generator = torch.Generator(self._parameters[0].device).manual_seed(step)
        for parameter, value in zip(self._parameters, values, strict=True):
            rounded = value if self._masters else round_stochastically(value, generator)
            parameter.copy_(rounded)


def round_stochastically(x: Tensor, generator: torch.Generator) -> Tensor:
    """Float32 to bf16, up or down with the chances that keep the mean. Non-finite values pass unchanged.

    The upper 16 bits of a float32 are a bf16: adding a random 16-bit number and cutting the lower half carries
    into the upper one with a probability equal to what is cut.
    """
    noise = torch.randint(0, 1 << 16, x.shape, dtype=torch.int32, device=x.device, generator=generator)
    rounded = ((x.view(torch.int32) + noise) & -(1 << 16)).view(torch.float32)
    return torch.where(x.isfinite(), rounded, x).bfloat16()
