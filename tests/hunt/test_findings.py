"""Every reported defect that a hunt is owed for is a case of the catalogue, whose `source` names it."""

import re

import pytest

from trueformer.hunt.bug import bugs

OWED = (
    "A3", "A4b", "A5", "A6", "A8", "A11", "A12", "A13a",
    "R3", "R4", "R6", "R11",
    "T1", "T3", "T5", "T7", "T8", "T9", "T10", "T15", "T16", "T19", "T20", "T24",
    "K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8",
    # N2 is a convention: ids of 32 and of 64 bits both index an embedding.
    "N1", "N3", "N4", "N5", "N6", "N7", "N8", "N9", "N10", "N11", "N12",
)  # fmt: skip


@pytest.mark.parametrize("finding", OWED)
def test_a_finding_is_a_case(finding):
    assert [bug.id for bug in bugs().values() if re.search(rf"\b{finding}\b", bug.source)]


def test_a_finding_that_is_no_defect_is_no_case():
    named = {name for bug in bugs().values() for name in re.findall(r"\b[ARTKN]\d+[ab]?\b", bug.source)}
    assert named <= {*OWED, "R18"}  # R18, a resume that nobody tests, is what two of the cases show
