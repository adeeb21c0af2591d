"""Fixed float32 tables that follow a module to any device and keep their precision in any dtype.

`model.to(torch.bfloat16)` would round every buffer, and an angle rounded to 8 bits is off by whole positions.
The tables here are made in float64 on the CPU, stored as float32, never saved, and made again whenever the
module moves, so they are right after `.to()`, `.half()`, `to_empty()`, and the same on every device. Leaves
out learned tables.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class FixedTables(nn.Module):
    """Base of modules whose buffers follow from their configuration alone, as `make_tables` says."""

    def make_tables(self) -> dict[str, Tensor]:
        """The tables by name, on the CPU, in float64."""
        raise NotImplementedError

    def build(self, device: torch.device | str) -> None:
        """Make the tables and put them on `device` as float32."""
        with torch.device("cpu"):
            tables = self.make_tables()
        for name, table in tables.items():
            self.register_buffer(name, table.to(torch.float32).to(device), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FixedTables":
        super()._apply(fn, recurse)
        self.build(next(self.buffers()).device)
        return self
