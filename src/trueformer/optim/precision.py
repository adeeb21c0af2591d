"""How parameters stored in bf16 keep updates smaller than bf16 can show.

A bf16 number has 8 significant bits: adding less than 1/512 of its size changes nothing, and late in training
every update is smaller. Two remedies. `master`: the optimizer steps a float32 master of which the parameter
is the rounding; only the 16 bits that the parameter lacks are kept, so a master costs 2 bytes a weight and
can never go stale. `stochastic`: the sum is rounded up or down at random with the chances that make it right
on average, at no memory. Float32 parameters are stepped directly. Leaves out float16, whose range is too
small to train in.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import BFloat16, Float32, Int16
from torch import Tensor


class Precision:
    """Float32 stand-ins for the parameters of one group.

    Raises:
        ValueError: a parameter is neither float32 nor bf16.
    """

    def __init__(self, parameters: Sequence[Tensor], bf16_updates: Literal["master", "stochastic"]) -> None:
        for parameter in parameters:
            if parameter.dtype not in (torch.float32, torch.bfloat16):
                raise ValueError(
                    f"a parameter is {parameter.dtype}: expected torch.float32 or torch.bfloat16"
                )
        self._parameters = [p.detach() for p in parameters]
        self._low = [i for i, p in enumerate(parameters) if p.dtype == torch.bfloat16]
        keep = self._low if bf16_updates == "master" else []
        self.rests = {i: torch.zeros_like(parameters[i], dtype=torch.int16) for i in keep}

    def values(self) -> list[Tensor]:
        """What the update rule moves: float32 parameters themselves, copies of the others."""
        values = list(self._parameters)
        for i in self._low:
            rest = self.rests.get(i)
            values[i] = values[i].float() if rest is None else join(values[i], rest)
        return values

    def write(self, values: Sequence[Tensor], step: int) -> None:
        """Bring moved copies back into the parameters.

        Random rounding depends on `step` alone: the same after a resume and on every rank.
        """
        if not self._low:
            return
        generator = torch.Generator(self._parameters[0].device).manual_seed(step)
        for i in self._low:
            if i in self.rests:
                rounded, rest = split(values[i])
                self.rests[i].copy_(rest)
            else:
                rounded = round_stochastically(values[i], generator)
            self._parameters[i].copy_(rounded)


def split(x: Float32[Tensor, "*shape"]) -> tuple[BFloat16[Tensor, "*shape"], Int16[Tensor, "*shape"]]:
    """The nearest bf16, and the rest that `join` needs to give back every bit.

    The upper half of a float32's bits is a bf16. Half is added before cutting, so the rest fits 16 signed
    bits.
    """
    bits = x.view(torch.int32)
    upper = (bits + (1 << 15)) >> 16
    return upper.short().view(torch.bfloat16), (bits - (upper << 16)).short()


def join(rounded: BFloat16[Tensor, "*shape"], rest: Int16[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """The float32 that `split` took apart."""
    return ((rounded.view(torch.int16).int() << 16) + rest).view(torch.float32)


def round_stochastically(
    x: Float32[Tensor, "*shape"], generator: torch.Generator
) -> BFloat16[Tensor, "*shape"]:
    """Float32 to bf16, up or down with the chances that keep the mean. Non-finite values pass unchanged.

    A random 16-bit number is added and the lower half cut: it carries with a probability equal to what is
    cut.
    """
    noise = torch.randint(0, 1 << 16, x.shape, dtype=torch.int32, device=x.device, generator=generator)
    rounded = ((x.view(torch.int32) + noise) & -(1 << 16)).view(torch.float32)
    return torch.where(x.isfinite(), rounded, x).bfloat16()
