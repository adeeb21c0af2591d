"""Each of the eight bugs of system K, planted in models of two other styles: the right law speaks first."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from mutants.catalogue import FOREIGN
from mutants.mutant import Mutant

from trueformer.doctor.check import check

LAWS = {
    "K1": "attention/scale",
    "K2": "attention/rows",
    "K3": "position/values-stay",
    "K4": "norm/finite-on-zeros",
    "K5": "position/relative",
    "K6": "block/residual",
    "K7": "loss/positive",
    "K8": "optimizer/decay-apart",
}
BUGS = [mutant for mutant in FOREIGN if mutant.finding in LAWS]


def test_all_eight_are_planted() -> None:
    assert {mutant.finding for mutant in BUGS} == set(LAWS)


@pytest.mark.parametrize("mutant", BUGS, ids=[f"{mutant.finding}-{mutant.name}" for mutant in BUGS])
def test_a_bug_of_system_k_is_named(mutant: Mutant) -> None:
    module = ModuleType(Path(mutant.file).stem)
    sys.modules[module.__name__] = module
    exec(compile(mutant.source(ROOT), mutant.file, "exec"), module.__dict__)
    model = module.build()
    report = check(model, **module.parts(model))
    first = report.broken[0].law.id
    if mutant.name.endswith(
        "decay-shrinks-the-moments"
    ):  # a decay of its own that is no decay of the weights
        assert first == "optimizer/step-is-its-rule"
    else:
        assert first == LAWS[mutant.finding], [result.line for result in report.broken]
