"""Rotary positions refuse heads of an odd width, unless an even part of them is asked for; other positions take any."""

import random

from trueformer.models.config import DecoderConfig


def probe(pick: random.Random) -> None:
    """Drawn widths, odd and even, given and derived."""
    shape = {"vocab_size": 10, "max_len": 8, "n_layers": 1}
    odd, heads = pick.randrange(3, 32, 2), pick.randrange(1, 5)
    for sizes in (
        {"d_model": odd * heads, "n_heads": heads},
        {"d_model": 24, "n_heads": heads, "head_dim": odd},
        {"d_model": 24, "n_heads": heads, "head_dim": odd, "rope_dim": odd},
        {"d_model": 24, "n_heads": heads, "head_dim": odd, "rope_dim": odd + 1},
    ):
        try:
            DecoderConfig(**shape, **sizes, positions="rope")
        except ValueError:
            continue
        raise AssertionError(f"{sizes} are taken")
    part = DecoderConfig(**shape, d_model=24, n_heads=heads, head_dim=odd, rope_dim=2, positions="rope")
    assert (part.head_dim, part.rope_dim) == (odd, 2)
    assert DecoderConfig(**shape, d_model=odd * heads, n_heads=heads, positions="learned").head_dim == odd
    even = DecoderConfig(**shape, d_model=2 * odd * heads, n_heads=heads)
    assert even.rope_dim == even.head_dim == 2 * odd
