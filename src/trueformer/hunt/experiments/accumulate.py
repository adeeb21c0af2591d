"""One optimizer step over the same rows: all at once, and in small batches one after the other."""

from pathlib import Path
from typing import Any

from .pretrain import trainer
from .report import Findings

STEPS = 8


def run(settings: dict[str, Any], seed: int, folder: Path) -> Findings:
    """How far losses, gradients and weights are apart; rounding when nothing is wrong."""
    loop = {"steps": 40, **settings.get("loop", {})}
    whole, _ = trainer({**settings, "loop": loop}, seed, folder / "whole")
    parts, _ = trainer({**settings, "loop": {**loop, "micro_batch_size": 2}}, seed, folder / "parts")
    pairs = [(whole.step(), parts.step()) for _ in range(STEPS)]
    weights = zip(whole.model.parameters(), parts.model.parameters(), strict=True)
    numbers = {
        "loss_gap": max(abs(a.loss - b.loss) for a, b in pairs),
        "gradient_ratio": pairs[0][1].grad_norm / pairs[0][0].grad_norm,
        "gradient_gap": abs(pairs[0][1].grad_norm - pairs[0][0].grad_norm) / pairs[0][0].grad_norm,
        "weights_gap": max(float((a - b).detach().abs().max()) for a, b in weights),
        "tokens_gap": float(abs(pairs[-1][0].tokens - pairs[-1][1].tokens)),
    }
    curves = {
        "loss": {"at once": [a.loss for a, _ in pairs], "in parts": [b.loss for _, b in pairs]},
        "gradient norm": {
            "at once": [a.grad_norm for a, _ in pairs],
            "in parts": [b.grad_norm for _, b in pairs],
        },
    }
    return Findings(numbers=numbers, curves=curves)
