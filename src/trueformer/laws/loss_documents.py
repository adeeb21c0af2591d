"""The law of packed rows: documents in one row have no part in one another's loss. Shapes: B rows, T tokens."""

from typing import Any

import torch
from torch import Tensor

from trueformer.laws.data_batches import batches, document_numbers, replaced, slim, understood
from trueformer.laws.law import Evidence, law
from trueformer.laws.loss_objective import Objective, matching, objective, scored_ids
from trueformer.laws.loss_targets import working_mark
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

OWN = 0.01  # of what its own tokens move


@law(
    "loss/documents-apart",
    statement="What stands in one document of a row has no part in the loss of another.",
    source="Raffel et al. 2020, arXiv:1910.10683: packing without seeing across",
    looks="Counts one document's targets only, and changes an earlier document of the row, and then its own tokens.",
    tolerance="1 % of what its own tokens move the loss: float32 leaves less, and a mask leaves exactly 0.",
    symptoms="Packing hurts, although batches number their documents and the model can keep them apart.",
    causes="The documents' numbers stop at the loss: they are not passed on to the model.",
    needs=("loss", "loader"),
)
def documents_apart(subject: Subject) -> Evidence:
    """`BOS a b BOS c d`: the loss of d is made of BOS c alone. `model(batch.ids)` forgets batch.document_ids."""
    if subject.interface.documents is None:
        raise NotApplicable("the model takes no numbers of documents (or declare: claims={'documents': …})")
    judge = objective(subject)
    marked, ignored = working_mark(subject, judge, matching(subject))
    whole, earlier, own = _last_document(subject, int(scored_ids(marked)[ignored][0]))
    moved = [
        abs(_scored(judge, _changed(subject, whole, at)) - _scored(judge, whole)) for at in (earlier, own)
    ]
    if not moved[1]:
        raise NotApplicable("no token of a document moves its loss")
    off = moved[0] / moved[1]
    return Evidence(
        measured=off, bound=OWN, unit="of its own tokens' effect", where="a row of two documents",
        saw="changing the first document changes the loss of the last" if not off <= OWN else "",
    )  # fmt: skip


def _scored(judge: Objective, whole: Any) -> float:
    return float(judge.score(whole)[0].detach())


def _changed(subject: Subject, whole: Any, at_T: Tensor) -> Any:
    """The batch with other ordinary tokens at these places; special ones stay."""
    ids, usual = understood(whole).inputs, subject.usual_ids
    near = torch.searchsorted(usual, ids.long())
    ordinary = usual[near.clamp(max=len(usual) - 1)] == ids
    return replaced(whole, torch.where(at_T & ordinary, usual[(near + 1) % len(usual)], ids))


def _last_document(subject: Subject, mark: int) -> tuple[Any, Tensor, Tensor]:
    """A row of which only the last document counts; where its first document is, and the last one.

    Raises:
        NotApplicable: the batches number no documents, or no row holds two.
    """
    for batch in batches(subject):
        numbers = document_numbers(subject, batch.whole)
        if numbers is None or batch.targets is None or numbers.shape != batch.inputs.shape:
            raise NotApplicable("the batches name no numbers of documents, such as document_ids")
        for row, number_T in enumerate(numbers):
            first, last = number_T[0], number_T[number_T >= 0][-1:]
            asked = (number_T == last).nonzero()[
                2:, 0
            ]  # after two of its own, whichever way targets are shifted
            if first != last and len(asked) and batch.counted[row, asked].any():
                targets = torch.full_like(batch.targets[row], mark)
                targets[asked] = batch.targets[row, asked]
                whole = replaced(slim(batch.whole, [row], 10**9), targets=targets[None])
                return whole, number_T == first, number_T == last
    raise NotApplicable("no row of the first batches holds two documents")
