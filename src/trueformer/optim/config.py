"""Optimizers and schedules as data."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """Which optimizer each parameter group gets, and its numbers.

    `adamw` runs AdamW everywhere; `muon` and `adamuon` run on hidden matrices and AdamW on the rest.

    Raises:
        ValueError: a number outside its meaning.
    """

    name: Literal["adamw", "muon", "adamuon"] = "muon"
    lr_matrices: float = 0.005  # an update's RMS is 0.2 lr, whichever optimizer moves them
    lr_embeddings: float = 0.01
    lr_head: float = 0.005  # untied heads only
    lr_vectors: float = 0.01  # norms, biases, sinks
    weight_decay: float = 0.1  # matrices, embeddings and head; decoupled; never vectors
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-10
    momentum: float = 0.95  # muon, adamuon
    nesterov: bool = True
    orthogonal_steps: int = 5
    bf16_updates: Literal["master", "stochastic"] = "master"  # how bf16 parameters keep small updates

    def __post_init__(self) -> None:
        for name in ("lr_matrices", "lr_embeddings", "lr_head", "lr_vectors", "eps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a number above 0")
        for name in ("beta1", "beta2", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 0 and below 1")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay is {self.weight_decay}: expected 0 or more")
        if self.orthogonal_steps < 1:
            raise ValueError(f"orthogonal_steps is {self.orthogonal_steps}: expected at least 1 (5 is usual)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """The rate's factor over optimizer steps: warm-up, then cosine, linear, constant or warmup-stable-decay.

    Raises:
        ValueError: a number outside its meaning.
    """

    kind: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    warmup_steps: int = 0
    decay_fraction: float = 0.4  # wsd: the share of all steps that decays
    final_factor: float = 0.0  # of the peak rate, at the last step

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}: expected 0 or more optimizer steps")
        if not 0 < self.decay_fraction <= 1:
            raise ValueError(f"decay_fraction is {self.decay_fraction}: expected above 0, at most 1")
        if not 0 <= self.final_factor <= 1:
            raise ValueError(
                f"final_factor is {self.final_factor}: expected a share of the peak between 0 and 1"
            )
