"""Our own stack, whole, under every law: none is broken, and none but the slow ones is left unchecked."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from trueformer.doctor.check import check
from trueformer.hunt.subject import KINDS, stack
from trueformer.laws.law import Verdict
from trueformer.models.config import RopeScaling


@pytest.mark.parametrize("kind", KINDS, ids=range(len(KINDS)))
def test_the_stack_keeps_every_law(kind: dict) -> None:
    report = check(**stack(**kind))
    report.raise_if_broken()
    assert report.advice == ()
    assert report.counts[Verdict.HOLDS] > 150
    assert all(result.law.deep for result in report.results if result.verdict is Verdict.NOT_CHECKED)


def test_bf16s_rounding_of_unequal_micro_batches_is_no_mean_of_means() -> None:
    given = stack(conversations=True, loop={"precision": "bf16"})
    (result,) = check(**given, only=["loop/accumulates-by-tokens"]).results
    assert result.verdict is Verdict.HOLDS, result.line


def test_a_scaled_rotation_is_not_held_to_the_frequencies_of_its_base() -> None:
    given = stack(rope_scaling=RopeScaling(kind="llama3", factor=8.0, original_max_len=16))
    for subject in (given, {"model": given["model"]}):
        (result,) = check(**subject, only=["position/frequencies"]).results
        assert result.verdict is Verdict.NOT_APPLICABLE, result.line


@pytest.mark.parametrize(
    ("law", "kind"),
    [
        ("loss/cross-entropy", {"loop": {"loss_chunk": 8, "label_smoothing": 0.1}}),
        ("data/documents-numbered", {"conversations": True, "max_len": 18}),
    ],
)
def test_what_once_alarmed_at_sound_code_does_so_no_more(law: str, kind: dict) -> None:
    """Smoothing over logits that cannot be swapped; rows of one conversation each, whose BOS is in the first place."""
    (result,) = check(**stack(**kind), only=[law]).results
    assert result.verdict in (Verdict.HOLDS, Verdict.NOT_APPLICABLE), result.line
