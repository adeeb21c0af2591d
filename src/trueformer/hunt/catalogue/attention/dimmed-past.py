"""However large a masked score is, the allowed keys share a whole: each row is the softmax over them alone."""

import random

import torch

from trueformer.nn.attend import attend


def probe(pick: random.Random) -> None:
    """Later keys that are very loud change nothing; the weights are those of the allowed keys by themselves."""
    rows, length, width = pick.randrange(1, 3), pick.randrange(4, 10), pick.choice([4, 8])
    heads = pick.choice([1, 2])
    q, v = torch.randn(rows, length, heads, width), torch.randn(rows, length, heads, width)
    quiet = torch.randn(rows, length, heads, width)
    sinks = pick.choice([None, torch.randn(heads)])
    options = {"scale": width**-0.5, "sinks_N": sinks, "backend": "plain"}
    place = pick.randrange(1, length)
    for factor in (pick.uniform(10, 40), pick.uniform(300, 900)):
        loud = quiet.clone()
        loud[:, place:] *= factor
        one, two = (attend(q, k, v, None, **options)[:, :place] for k in (quiet, loud))
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    for t in range(place):
        powers = torch.einsum("bnh,bsnh->bsn", q[:, t], quiet[:, : t + 1]).mul(width**-0.5).double().exp()
        below = powers.sum(1) + (0.0 if sinks is None else sinks.double().exp())
        wanted = torch.einsum("bsn,bsnh->bnh", powers, v[:, : t + 1].double()) / below[..., None]
        torch.testing.assert_close(two[:, t].double(), wanted, rtol=1e-4, atol=1e-5)
