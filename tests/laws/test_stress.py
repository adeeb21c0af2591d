"""Laws that train a model for a moment: sound ones learn, and each planted fault keeps its model from it."""

import pytest
import torch
from torch import Tensor, nn

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict

GPT, LLAMA = "gpt2_like.py", "llama_like.py"


def judged(model: nn.Module, law: str, **more):
    return check(model, only=(law,), deep=True, **more).results[0]


@pytest.mark.slow
@pytest.mark.parametrize("file", [GPT, LLAMA])
def test_sound_models_learn(planted, file):
    report = check(planted(file).build(), only=("stress",), deep=True)
    report.raise_if_broken()
    assert report.counts[Verdict.HOLDS] == 2
    assert report.counts[Verdict.NOT_CHECKED] == 2


def test_they_are_not_checked_unless_asked_for(planted):
    assert check(planted(GPT).build(), only=("stress",)).counts == {Verdict.NOT_CHECKED: 4}


def test_a_model_that_cannot_learn_a_batch_by_heart(planted):
    """The head's input is cut off: only the head learns, from nothing that tells texts apart."""
    found = judged(
        planted(LLAMA, ("self.output(self.norm(h))", "self.output(0 * self.norm(h) + 1)")).build(),
        "stress/overfits",
    )
    assert found.fails
    assert "after 200 steps" in found.evidence.saw


@pytest.mark.slow
def test_a_model_whose_tokens_see_themselves_only_cannot_copy(planted):
    model = planted(GPT, ("torch.tril(ones)", "torch.eye(config.block_size, dtype=torch.bool)")).build()
    assert judged(model, "stress/copies").fails


class Sized(nn.Module):
    """Feed-forward blocks of any depth and width, with or without residuals."""

    def __init__(self, depth: int, width: int, *, residual: bool) -> None:
        super().__init__()
        self.vocab_size, self.residual = 40, residual
        self.table, self.head = nn.Embedding(40, width), nn.Linear(width, 40)
        self.norm = nn.LayerNorm(width)
        self.rows = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(depth)
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        for row in self.rows:
            x = x + 0.2 * row(x) if self.residual else row(x)
        return self.head(self.norm(x))


@pytest.mark.parametrize("residual", [True, False])
def test_depth_helps_only_with_residuals(residual):
    def build(depth: int = 2) -> nn.Module:
        torch.manual_seed(0)
        return Sized(depth, 32, residual=residual)

    found = judged(build(), "stress/depth", build=build)
    assert found.verdict is (Verdict.HOLDS if residual else Verdict.BROKEN), found.line


def test_width_under_adam_is_advice():
    """Standard parametrisation: four times the width moves the output further in a step."""

    def build(width: int = 64) -> nn.Module:
        torch.manual_seed(0)
        model = Sized(2, width, residual=True)
        with torch.no_grad():
            for row in model.rows:
                row[3].weight.mul_(width / 64)  # grows with the width where it should shrink
        return model

    found = judged(build(), "stress/width", build=build)
    assert found.verdict is Verdict.ADVICE, found.line
    assert not found.fails
