"""Precision: what `torch.export` and `torch.compile` make of a model computes what the model does."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from trueformer.laws.block_parts import in_evaluation, short_ids
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.kept import random_numbers_kept
from trueformer.subject.subject import Subject

BOUND = 1e-4


class _Logits(nn.Module):
    """Ids in, logits out, however the model is called."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.model = copy.deepcopy(in_evaluation(subject))
        self.interface = subject.interface

    def forward(self, ids_BT: Tensor) -> Tensor:
        return self.interface.call(self.model, ids_BT).logits


def _compared(subject: Subject, made: Any, plain: nn.Module) -> Evidence:
    """How far the twin's logits are from the model's on other ids than it was made with."""
    ids = subject.ids(2, short_ids(subject).shape[1], seed=5)
    with random_numbers_kept(), torch.no_grad():
        try:
            ours, theirs = plain(ids), made(ids)
        except Exception as error:
            raise NotApplicable(
                f"torch cannot make one of it: {' '.join(str(error).split())[:100]}"
            ) from error
    off = float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1e-30))
    saw = "the twin's logits differ" if not off <= BOUND else ""
    return Evidence(measured=off, bound=BOUND, where="logits", saw=saw)


@law(
    "precision/exports",
    statement="The exported model gives the model's logits.",
    source="torch.export",
    looks="Exports a copy with some ids and compares both on others.",
    tolerance="1e-4 of the largest logit: other kernels round otherwise, by 1e-6.",
    symptoms="The served model answers otherwise than the trained one.",
    causes="Values computed in Python, from the ids, that the export keeps as constants.",
    needs=("logits",),
    deep=True,
)
def exports(subject: Subject) -> Evidence:
    """`n = int((ids != 0).sum())` is a number at the time of the export, and stays it."""
    plain = _Logits(subject).eval()
    try:
        with random_numbers_kept(), torch.no_grad():
            made = torch.export.export(plain, (short_ids(subject, 2),), strict=False).module()
    except Exception as error:
        raise NotApplicable(f"it cannot be exported: {' '.join(str(error).split())[:100]}") from error
    return _compared(subject, made, plain)


@law(
    "precision/compiles",
    statement="The compiled model gives the model's logits.",
    source="torch.compile",
    looks="Captures a copy as torch.compile does, without generating code, and compares both on other ids.",
    tolerance="1e-4 of the largest logit: operations are split and joined, which rounds by 1e-6.",
    symptoms="Training compiled and eager give different curves.",
    causes="State that is changed in the forward pass; values computed in Python; writes in place through views.",
    needs=("logits",),
    deep=True,
)
def compiles(subject: Subject) -> Evidence:
    """Generating code would need a compiler and a minute; capturing shows what the model's code hides from it."""
    plain = _Logits(subject).eval()
    made = torch.compile(copy.deepcopy(plain), backend="aot_eager")
    with random_numbers_kept(), torch.no_grad():
        try:
            made(short_ids(subject, 2))
        except Exception as error:
            raise NotApplicable(f"it cannot be compiled: {' '.join(str(error).split())[:100]}") from error
    return _compared(subject, made, plain)
