"""What several laws of a chapter measure together is measured once for each subject."""

from collections.abc import Callable
from typing import Any

from trueformer.subject.subject import Subject


def once(subject: Subject, name: str, make: Callable[[], Any]) -> Any:
    """What `make` gives, made for this subject the first time that this name is asked for."""
    store = vars(subject).setdefault("_once", {})
    if name not in store:
        store[name] = make()
    return store[name]
