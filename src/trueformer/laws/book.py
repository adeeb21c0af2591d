"""The whole book of laws, in the order in which blame is laid: what is inside first, what follows from it after."""

import importlib
from collections.abc import Sequence

from trueformer.laws.law import BOOK, Law

CHAPTERS = (
    "attention", "position", "norm", "block", "embedding", "precision", "loss", "data", "optimizer", "schedule",
    "loop", "tokenizer", "checkpoint", "inference", "stress",
)  # fmt: skip


def laws() -> tuple[Law, ...]:
    """Every law that a probe can judge, in order."""
    for chapter in CHAPTERS:
        importlib.import_module(f"trueformer.laws.{chapter}")
    order = {chapter: i for i, chapter in enumerate(CHAPTERS)}
    probed = [law for law in BOOK.values() if law.probe is not None]
    return tuple(sorted(probed, key=lambda law: order.get(law.component, len(order))))


def select(only: Sequence[str] = ()) -> tuple[Law, ...]:
    """The laws with these ids or of these components; all of them where none is named.

    Raises:
        ValueError: there is no such law.
    """
    known = laws()
    for wanted in only:
        if wanted not in {law.id for law in known} | {law.component for law in known}:
            near = [law.id for law in known if wanted.split("/")[-1] in law.id]
            hint = f"; did you mean {near[0]}?" if near else "; `trueformer explain` lists them"
            raise ValueError(f"there is no law or component {wanted!r}{hint}")
    return tuple(law for law in known if not only or law.id in only or law.component in only)
