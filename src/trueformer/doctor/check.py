"""`trueformer.check`: a model and whatever else there is, tested against every law, and left as it was."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from torch import nn

from trueformer.doctor.report import Report, Result
from trueformer.doctor.runner import examine
from trueformer.laws.book import select
from trueformer.subject.subject import Claims, Subject


def check(
    model: nn.Module,
    *,
    vocab_size: int | None = None,
    max_len: int | None = None,
    claims: Claims | dict[str, Any] | None = None,
    only: Sequence[str] = (),
    deep: bool = False,
    limit: int | float = 60.0,
    name: str | None = None,
    done: Callable[[Result], None] | None = None,
    **parts: Any,
) -> Report:
    """Tests a model against the laws; needs nothing to compare with, and changes nothing of it.

    `parts` are `loss`, `optimizer`, `loader`, `val_loader`, `schedule`, `generate`, `save`, `load`, `tokenizer`,
    `train_step`, `evaluate`, `build`, `prepare`, `chats` and more: see `Subject`. `claims` declares what is meant to
    be unusual; `only` takes ids of laws or components; `limit` is in seconds a law.

        >>> report = trueformer.check(model, vocab_size=50257, loss=F.cross_entropy)
        >>> report.raise_if_broken()

    Raises:
        ValueError: a part, claim or law that does not exist; a model that does not tell its vocabulary's size.
    """
    subject = subject_of(model, vocab_size=vocab_size, max_len=max_len, claims=claims, **parts)
    return examine(
        subject, select(only), name=name or type(subject.model).__name__, deep=deep, limit=limit, done=done
    )


def subject_of(model: nn.Module, *, claims: Claims | dict[str, Any] | None = None, **parts: Any) -> Subject:
    """The model and its parts as the laws see them; the same words as for `check`.

    Raises:
        ValueError: a part or claim that does not exist; a model that does not tell its vocabulary's size.
    """
    _check_names("part", set(parts) - {"vocab_size", "max_len"}, PARTS)
    if not isinstance(claims, Claims):
        _check_names("claim", set(claims or {}), [entry.name for entry in fields(Claims)])
        claims = Claims(**(claims or {}))
    return Subject(model=model, claims=claims, **parts)


PARTS = tuple(
    entry.name for entry in fields(Subject) if entry.name not in ("model", "vocab_size", "max_len", "claims")
)


def _check_names(kind: str, given: set[str], known: Sequence[str]) -> None:
    strange = sorted(given - set(known))
    if strange:
        raise ValueError(f"there is no {kind} {strange[0]!r}: expected some of {', '.join(known)}")
