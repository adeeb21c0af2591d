"""The whole book of laws, in the order in which blame is laid: what is inside first, what follows from it after."""

import difflib
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
            names = [law.id for law in known] + [law.component for law in known]
            raise ValueError(f"there is no law or component {wanted!r}{nearest(wanted, names)}")
    return tuple(law for law in known if not only or law.id in only or law.component in only)


def nearest(wanted: str, names: Sequence[str]) -> str:
    """The end of a message about a name that does not exist: the name that was meant, or where all are listed."""
    close = difflib.get_close_matches(wanted, names, n=1)
    partly = [name for name in names if wanted.split("/")[-1] in name.split("/")]
    meant = (partly if "/" in wanted else []) + close + partly
    return f": did you mean {meant[0]}?" if meant else ": `trueformer explain` lists them"
