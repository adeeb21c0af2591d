"""The loss is the cross-entropy, smoothed or not, at once or in slices."""

import random

import torch

from trueformer.training.loss import token_loss


def probe(pick: random.Random) -> None:
    """Equals -(1 - e) log p of the target - e times the mean log p, summed over the targets that count, in float64."""
    tokens, width, vocab = pick.randrange(6, 30), pick.choice([6, 10, 16]), pick.randrange(11, 40)
    hidden, head = torch.randn(tokens, width), torch.randn(vocab, width)
    targets = torch.randint(0, vocab, (tokens,))
    targets[:: pick.randrange(3, 6)] = -100
    kept = targets >= 0
    logs = (hidden.double() @ head.double().T).log_softmax(-1)[kept]
    right = logs[torch.arange(len(logs)), targets[kept]]
    for smoothing in (0.0, pick.choice([0.1, 0.25])):
        wanted = -(1 - smoothing) * right.sum() - smoothing * logs.mean(-1).sum()
        for chunk in (4, 4096):
            found = token_loss(hidden, head, targets, chunk=chunk, label_smoothing=smoothing)
            torch.testing.assert_close(found.total.double(), wanted, rtol=1e-4, atol=1e-3)
            assert int(found.n_tokens) == int(kept.sum())
