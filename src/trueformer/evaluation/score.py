"""How many of so many, and how sure one can be of the share."""

import math
from dataclasses import dataclass

Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How many of so many were right."""

    correct: int
    total: int

    @property
    def share(self) -> float:
        """The share that was right; NaN of none."""
        return self.correct / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share (Wilson 1927): within 0 and 1, and wide where there are few."""
        if not self.total:
            return 0.0, 1.0
        n, p = self.total, self.share
        middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.share:.1f} % of {self.total} ({100 * low:.1f} to {100 * high:.1f})"
