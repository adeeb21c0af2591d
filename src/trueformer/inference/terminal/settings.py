"""How replies are drawn, as the user sets it: options of the command, and `/set` while it runs.

Leaves out torch, so that `trueformer chat --help` is quick.

    changed(Settings(), "temperature", "0").temperature  # 0.0
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from trueformer.inference.config import SamplingConfig

NONE = "none"  # what a user writes for None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How replies are drawn.

    Raises:
        ValueError: a number outside its meaning.
    """

    temperature: float = 0.8
    """0 takes the likeliest token; 1 draws as the model says."""
    top_k: int | None = None
    """Draw among the k likeliest."""
    top_p: float = 1.0
    """Draw among the fewest tokens that hold this probability."""
    min_p: float = 0.0
    """Drop tokens below this share of the likeliest one's probability."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that were used less likely."""
    seed: int | None = None
    """Of the draws: the same conversation then gets the same reply. None: another seed each time."""
    max_tokens: int | None = None
    """Of one reply; None: as many as there is room for."""

    def __post_init__(self) -> None:
        self.sampling(self.seed or 0)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}: expected at least 1, or {NONE} for no limit")

    def sampling(self, seed: int) -> SamplingConfig:
        """The same for the engine, with this seed."""
        return SamplingConfig(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            seed=seed,
        )


NAMES = tuple(field.name for field in dataclasses.fields(Settings))
_OPTIONAL = ("top_k", "seed", "max_tokens")  # whole numbers, or none


def changed(settings: Settings, name: str, value: str) -> Settings:
    """The settings with one of them as the user wrote it.

    Raises:
        ValueError: there is no such setting, or the value is none for it; says what is expected.
    """
    name = name.replace("-", "_")
    if name not in NAMES:
        raise ValueError(f"there is no setting {name!r}: expected one of {', '.join(NAMES)}")
    change: dict[str, Any] = {name: _read(name, value)}
    return dataclasses.replace(settings, **change)


def _read(name: str, value: str) -> int | float | None:
    if name not in _OPTIONAL:
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{name} is {value[:40]!r}: expected a number, such as 0.5") from None
    try:
        return None if value.lower() == NONE else int(value)
    except ValueError:
        raise ValueError(f"{name} is {value[:40]!r}: expected a whole number, or {NONE}") from None
