"""A repetition penalty divides the logits above 0 of tokens seen, once each, and multiplies those below."""

import random

import torch

from trueformer.inference.config import SamplingConfig
from trueformer.inference.plain import plain_probabilities
from trueformer.inference.sampling import Sampler


def probe(pick: random.Random) -> None:
    """Both samplers against the rule written out, token by token."""
    vocab, penalty = pick.randrange(8, 30), pick.uniform(1.1, 3.0)
    logits = [pick.choice([-1, 1]) * pick.uniform(0.1, 5.0) for _ in range(vocab)]
    seen = [pick.randrange(vocab) for _ in range(vocab)]
    config = SamplingConfig(repetition_penalty=penalty)
    wanted = [
        logit if i not in seen else logit / penalty if logit > 0 else logit * penalty
        for i, logit in enumerate(logits)
    ]
    logits_V, wanted_V = (torch.tensor(row, dtype=torch.float64) for row in (logits, wanted))
    wanted_V = wanted_V.exp() / wanted_V.exp().sum()
    torch.testing.assert_close(plain_probabilities(logits_V, seen, config), wanted_V)
    seen_BV = torch.zeros(2, vocab, dtype=torch.bool)
    seen_BV[0, seen] = True
    got_BV = Sampler([config, config]).filter(torch.stack([logits_V, logits_V]), seen_BV).softmax(-1)
    torch.testing.assert_close(got_BV[0], wanted_V)
    torch.testing.assert_close(got_BV[1], logits_V.softmax(-1))
