"""A width that the heads cannot share evenly is refused; one that they can, or a width that is given, is taken."""

import random

from trueformer.models.config import DecoderConfig


def probe(pick: random.Random) -> None:
    """Drawn widths and numbers of heads, with and without a rest."""
    positions = pick.choice(["learned", "sinusoidal", "none"])
    shape = {"vocab_size": 10, "max_len": 8, "n_layers": 1, "positions": positions}
    heads, each = pick.randrange(2, 9), pick.randrange(1, 20)
    for key_heads in (None, 1, heads):
        config = DecoderConfig(**shape, d_model=heads * each, n_heads=heads, n_kv_heads=key_heads)
        assert config.head_dim == each
        rest = pick.randrange(1, heads)
        try:
            DecoderConfig(**shape, d_model=heads * each + rest, n_heads=heads, n_kv_heads=key_heads)
        except ValueError:
            pass
        else:
            raise AssertionError(f"{heads * each + rest} channels are shared by {heads} heads")
        given = DecoderConfig(
            **shape, d_model=heads * each + rest, n_heads=heads, n_kv_heads=key_heads, head_dim=5
        )
        assert given.head_dim == 5
