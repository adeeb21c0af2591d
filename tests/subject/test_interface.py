"""How models are called, learned from their signatures and one call."""

import pytest
import torch
from torch import nn

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict
from trueformer.subject.errors import NotUnderstood
from trueformer.subject.interface import learn

IDS = torch.arange(8).reshape(2, 4)


class Letters(nn.Module):
    """Logits of the next letter from this one alone."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(16, 8), nn.Linear(8, 16)

    def forward(self, idx):
        return self.head(self.embedding(idx))


class WithTargets(Letters):
    """Insists on targets, and gives the loss with the logits."""

    def forward(self, idx, targets):
        logits = super().forward(idx)
        return logits, nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class LastPosition(Letters):
    """As nanoGPT: the last position's logits, unless targets are given."""

    def forward(self, idx, targets=None):
        logits = super().forward(idx)
        return (logits[:, -1:], None) if targets is None else (logits, logits.mean())


class OnlyLast(Letters):
    """Never gives more than the last position's."""

    def forward(self, idx):
        return super().forward(idx)[:, -1:]


@pytest.mark.parametrize(
    ("kind", "targets", "needs"),
    [(Letters, None, False), (WithTargets, "targets", True), (LastPosition, "targets", True)],
)
def test_targets_are_given_where_a_model_insists_on_them(kind, targets, needs):
    interface = learn(kind(), IDS)
    assert (interface.targets, interface.needs_targets) == (targets, needs)
    assert interface.call(kind(), IDS).logits.shape == (2, 4, 16)


def test_a_model_of_the_last_position_alone_is_not_understood():
    with pytest.raises(NotUnderstood, match="the last position's logits only"):
        learn(OnlyLast(), IDS)


def test_no_law_crashes_on_a_model_that_insists_on_targets():
    report = check(
        WithTargets(), vocab_size=16, max_len=16, only=["attention", "embedding", "loss", "precision"]
    )
    assert [result.line for result in report.results if result.verdict is Verdict.CRASHED] == []
    assert report.counts[Verdict.HOLDS] > 10
