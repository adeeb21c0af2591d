"""What several laws measure together is measured once for each subject."""

from collections.abc import Callable
from typing import Any

import torch

from trueformer.subject.kept import random_numbers_kept
from trueformer.subject.subject import Subject


def once(subject: Subject, name: str, make: Callable[[], Any]) -> Any:
    """What `make` gives, made for this subject the first time that this name is asked for."""
    store = vars(subject).setdefault("_once", {})
    if name not in store:
        store[name] = make()
    return store[name]


def draws_random_numbers(subject: Subject) -> bool:
    """Whether a pass in training mode does, as dropout does."""

    def drawn() -> bool:
        model = subject.copied().train()
        with random_numbers_kept(), torch.no_grad():
            before = torch.get_rng_state()
            subject.interface.call(model, subject.ids(1, min(4, subject.length)))
            return not torch.equal(before, torch.get_rng_state())

    return once(subject, "draws random numbers", drawn)
