"""The loss and its gradient are the same at once and in slices, with smoothing, z-loss and a soft cap."""

import random

import torch

from trueformer.training.loss import token_loss


def probe(pick: random.Random) -> None:
    """Equals a float64 sum, and its gradients those that autograd finds in it."""
    tokens, width, vocab = pick.randrange(12, 30), pick.choice([6, 10, 16]), pick.randrange(11, 40)
    targets = torch.randint(0, vocab, (tokens,))
    targets[:: pick.randrange(3, 6)] = -100
    kept = targets >= 0
    for softcap, z_loss, smoothing in (
        (None, 0.0, 0.2),
        (None, 0.02, 0.1),
        (5.0, 0.01, 0.3),
        (None, 0.0, 0.0),
    ):
        hidden, head = (torch.randn(n, width, requires_grad=True) for n in (tokens, vocab))
        given = [hidden, head]
        logits = hidden.double() @ head.double().T
        logits = (logits if softcap is None else softcap * torch.tanh(logits / softcap))[kept]
        logs = logits.log_softmax(-1)
        right = logs[torch.arange(len(logs)), targets[kept]].sum()
        wanted = -(1 - smoothing) * right - smoothing * logs.mean(-1).sum()
        wanted = wanted + z_loss * logits.logsumexp(-1).square().sum()
        slopes = torch.autograd.grad(wanted, given)
        for chunk in (pick.randrange(3, 9), 4096):
            found = token_loss(
                hidden, head, targets, softcap=softcap, chunk=chunk, z_loss=z_loss, label_smoothing=smoothing
            ).total
            torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-3)
            for one, other in zip(torch.autograd.grad(found, given), slopes, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
