"""What is masked out counts nothing, however large scores are; what is not is weighed by its score alone."""

import random

import torch

from trueformer.nn.attend import attend


def probe(pick: random.Random) -> None:
    """Small and very large scores under a drawn mask, against a softmax over the allowed keys alone."""
    length, width = pick.randrange(4, 10), 6
    q, k = torch.randn(1, length, 1, width), torch.randn(1, length, 1, width)
    v = torch.randn(1, length, 1, width)
    allowed = torch.rand(1, length, length) < 0.5
    allowed |= torch.eye(length, dtype=torch.bool)
    for scale in (0.3, pick.uniform(20, 60), pick.uniform(200, 600)):
        found = attend(q, k, v, allowed, scale=scale, backend="plain")[0, :, 0]
        for t in range(length):
            keys = allowed[0, t].nonzero()[:, 0]
            scores = (k[0, keys, 0].double() @ q[0, t, 0].double()) * scale
            wanted = scores.softmax(0) @ v[0, keys, 0].double()
            torch.testing.assert_close(found[t].double(), wanted, rtol=2e-3, atol=2e-3)
