"""What is marked as nothing to predict has no part in the loss, and every token has, that of id 0 too."""

import random

import torch

from trueformer.training.loss import token_loss


def probe(pick: random.Random) -> None:
    """Equals the sum over the targets that count in float64, and has no gradient elsewhere."""
    tokens, width, vocab = pick.randrange(9, 30), pick.choice([6, 10, 16]), pick.randrange(11, 40)
    hidden = torch.randn(tokens, width, requires_grad=True)
    head = torch.randn(vocab, width)
    targets = torch.randint(0, vocab, (tokens,))
    targets[::3] = 0
    mark = pick.choice([-100, -100, -1])
    targets[torch.randperm(tokens)[: pick.randrange(2, tokens - 4)]] = mark
    kept = targets >= 0
    logs = (hidden.detach().double() @ head.double().T).log_softmax(-1)[kept]
    wanted = -logs[torch.arange(len(logs)), targets[kept]].sum()
    for chunk in (5, 4096):
        found = token_loss(hidden, head, targets, chunk=chunk, ignore_index=mark).total
        torch.testing.assert_close(found.detach().double(), wanted, rtol=1e-4, atol=1e-3)
        (gradient,) = torch.autograd.grad(found, hidden)
        assert not gradient[~kept].any()
        assert gradient[kept].any(-1).all()
