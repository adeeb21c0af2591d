"""Whether a model draws random numbers."""

import torch

from trueformer.subject.kept import random_numbers_kept
from trueformer.subject.subject import Subject


def draws_random_numbers(subject: Subject) -> bool:
    """Whether a pass in training mode does, as dropout does."""

    def drawn() -> bool:
        model = subject.copied().train()
        with random_numbers_kept(), torch.no_grad():
            before = torch.get_rng_state()
            subject.interface.call(model, subject.ids(1, min(4, subject.length)))
            return not torch.equal(before, torch.get_rng_state())

    return subject.once("draws random numbers", drawn)
