"""The z-loss is taken where there is something to predict and nowhere else, at once and in slices."""

import random

import torch

from trueformer.training.loss import token_loss


def probe(pick: random.Random) -> None:
    """Equals cross-entropy + z times the squared log of the normaliser, of the targets that count, in float64."""
    tokens, width, vocab = pick.randrange(9, 30), pick.choice([6, 10, 16]), pick.randrange(11, 40)
    hidden = torch.randn(tokens, width, requires_grad=True)
    head = torch.randn(vocab, width)
    targets = torch.randint(0, vocab, (tokens,))
    targets[::3] = 0
    targets[torch.randperm(tokens)[: pick.randrange(2, tokens - 4)]] = -100
    kept = targets >= 0
    logits = (hidden.detach().double() @ head.double().T)[kept]
    nats = -logits.log_softmax(-1)[torch.arange(len(logits)), targets[kept]]
    for z in (0.0, 1e-3, pick.uniform(0.01, 0.1)):
        wanted = nats.sum() + z * logits.logsumexp(-1).square().sum()
        for chunk in (5, 4096):
            found = token_loss(hidden, head, targets, chunk=chunk, z_loss=z).total
            torch.testing.assert_close(found.detach().double(), wanted, rtol=1e-4, atol=1e-3)
            (gradient,) = torch.autograd.grad(found, hidden)
            assert not gradient[~kept].any()
