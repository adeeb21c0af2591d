"""Fresh weights: init_std for every matrix, less by sqrt(2 n_layers), or zero, for those that end in the stream."""

import random

from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM


def probe(pick: random.Random) -> None:
    """The standard deviation of each tensor, found by its place in the model."""
    std, n_layers = pick.choice([0.02, 0.1]), pick.randrange(3, 7)
    for kind in ("scaled", "zero"):
        config = DecoderConfig(
            vocab_size=60,
            max_len=40,
            d_model=48,
            n_layers=n_layers,
            n_heads=2,
            init_std=std,
            residual_init=kind,
            positions=pick.choice(["rope", "learned"]),
            tied=pick.choice([True, False]),
        )
        model = DecoderLM(config, backend="plain")
        ends = [p for b in model.blocks for p in (b.attention.out.weight, b.feed_forward.down.weight)]
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2:
                continue
            end = any(parameter is other for other in ends)
            wanted = std * (0.0 if kind == "zero" else (2 * n_layers) ** -0.5) if end else std
            assert abs(float(parameter.std()) - wanted) <= 0.15 * wanted, f"{name} is drawn with another size"
