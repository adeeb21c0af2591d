"""Attention: what a token may see, how its scores are made and how heads are split, shared and joined.

Shapes: B rows, T queries, S keys, H heads, D the width of a head, V vocabulary.
"""

import torch
from torch import Tensor

from trueformer.laws.law import Evidence, Figure, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject


def influence(subject: Subject) -> Tensor:
    """How far changing token t moves the logits at s, as a share of the most any change does: (T, T)."""
    ids = subject.ids()
    other = subject.usual_ids[(torch.searchsorted(subject.usual_ids, ids) + 1) % len(subject.usual_ids)]
    changed = torch.where(torch.eye(subject.length, dtype=torch.bool), other, ids)
    moved = torch.stack([subject.logits(row[None])[0] for row in changed]) - subject.logits(ids)
    moved_TT = moved.abs().amax(-1)
    if not moved_TT.any():
        raise NotApplicable("no logit depends on any token")
    return moved_TT / moved_TT.max()


def matrix(title: str, values: Tensor, x: str, y: str, log: bool = False) -> Figure:
    """A figure of a matrix of at most 64 by 64."""
    rows = tuple(tuple(row) for row in values[:64, :64].double().tolist())
    return Figure(kind="matrix", title=title, x_label=x, y_label=y, matrix=rows, log=log)


@law(
    "attention/causal",
    statement="A logit never depends on a later token.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.2.3",
    looks="Changes each token in turn and compares the logits before it, as a share of the largest change.",
    tolerance="1e-5: rounding in mixtures of experts reaches 1.5e-7, elsewhere the change is exactly 0.",
    symptoms="The training loss falls far below what the text allows; what is generated makes no sense.",
    causes="No mask, one transposed or off by one on its diagonal; softmax over the queries; a sum over time.",
    needs=("logits",),
)
def causal(subject: Subject) -> Evidence:
    """A model that sees the next token copies it: training loss near 0, and nothing to copy when it generates.

    With `mask = torch.tril(ones, diagonal=1)` token t sees t + 1, which is the very token it is asked for.
    The right one is `torch.tril(ones)`.
    """
    if not subject.claims.causal:
        raise NotApplicable("the model is declared to read in both directions (causal=False)")
    moved_TS = influence(subject)
    earlier = moved_TS.tril(-1)
    t, s = divmod(int(earlier.argmax()), subject.length)
    return Evidence(
        measured=float(earlier.max()),
        bound=subject.noise,
        where=f"token {t} moves the logits at {s}",
        saw="a later token changes an earlier prediction" if earlier.max() > subject.noise else "",
        figure=matrix(
            "How far changing a token moves each logit",
            moved_TS.clamp(min=1e-16),
            "logit at",
            "changed",
            True,
        ),
    )
