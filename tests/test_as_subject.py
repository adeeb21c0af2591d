"""Our own stack, whole, under every law: none is broken, and none but the slow ones is left unchecked."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from stack_subject import KINDS, stack

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict


@pytest.mark.parametrize("kind", KINDS, ids=range(len(KINDS)))
def test_the_stack_keeps_every_law(kind: dict) -> None:
    report = check(**stack(**kind))
    report.raise_if_broken()
    assert report.advice == ()
    assert report.counts[Verdict.HOLDS] > 150
    assert all(result.law.deep for result in report.results if result.verdict is Verdict.NOT_CHECKED)
