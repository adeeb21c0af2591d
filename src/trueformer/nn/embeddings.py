"""Absolute positions: the fixed sinusoids of the 2017 Transformer. Learned ones are a plain `nn.Embedding`.

Shapes: B batch, T length, D d_model, P = max_len positions.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trueformer.nn.tables import FixedTables


class SinusoidalPositions(FixedTables):
    """sin and cos of position / 10000^(2i/D) in channels 2i and 2i + 1 (arXiv 1706.03762, section 3.5)."""

    table_PD: Tensor

    def __init__(self, max_len: int, d_model: int) -> None:
        super().__init__()
        self.max_len, self.d_model = max_len, d_model
        self.build(torch.get_default_device())

    def make_tables(self) -> dict[str, Tensor]:
        position_P1 = torch.arange(self.max_len, dtype=torch.float64)[:, None]
        frequency = 10_000.0 ** -(torch.arange(0, self.d_model, 2, dtype=torch.float64) / self.d_model)
        angle = position_P1 * frequency
        table_PD = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, : self.d_model]
        return {"table_PD": table_PD}

    def forward(self, positions_BT: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return self.table_PD[positions_BT]
