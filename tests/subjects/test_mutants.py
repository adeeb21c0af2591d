"""The handwritten mutants fit the code as it is, and are silent: they build, train, generate and save."""

import importlib.util
import itertools
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from mutants.catalogue import FOREIGN, MUTANTS, STACK  # noqa: E402 - benchmarks/ is no package of ours

FINDINGS = (
    {f"K{i}" for i in range(1, 9)}
    | {"A2", "A3", "A5", "A6", "A8", "A12", "A13a", "R3", "R4", "R11"}
    | {"T1", "T3", "T5", "T7", "T8", "T10", "T15", "T16", "T17", "T19", "T20"}
    | {"N1", "N3", "N4", "N5", "N6", "N7", "N8", "N9", "N10", "N11", "N12"}
)


def test_there_are_enough_and_none_is_there_twice():
    assert len(FOREIGN) >= 120
    assert len(STACK) >= 120
    names = Counter(mutant.name for mutant in MUTANTS)
    assert [name for name, count in names.items() if count > 1] == []
    edits = Counter((mutant.file, mutant.old, mutant.new) for mutant in MUTANTS)
    assert [edit for edit, count in edits.items() if count > 1] == []
    assert {mutant.finding for mutant in MUTANTS} - {""} == FINDINGS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_one_edit_that_compiles(mutant):
    before, after = (ROOT / mutant.file).read_text(encoding="utf-8"), mutant.source(ROOT)
    assert before.count(mutant.old) == 1
    assert before != after
    compile(after, mutant.file, "exec")


def use(module, folder):
    """Everything the owner would do with it."""
    model = module.build()
    parts = module.parts(model)
    batches = list(itertools.islice(parts["loader"], 2))
    if batches:
        for _ in range(2):
            parts["train_step"](model, batches, parts["optimizer"])
            parts["loss"](model, batches[0])
    prompt = torch.tensor([parts["tokenizer"].encode("Ab 9", bos=True)])
    for options in ({"temperature": 0}, {"top_k": 5, "seed": 1}, {"top_p": 0.9, "seed": 1}):
        parts["generate"](model.eval(), prompt, 4, **options)
    parts["save"](model, parts["optimizer"], folder / "c")
    parts["load"](folder / "c", model, parts["optimizer"])
    text = "Zoë 7"  # holds what not every alphabet does
    parts["tokenizer"].decode(parts["tokenizer"].encode(text))


@pytest.mark.slow
@pytest.mark.parametrize("mutant", FOREIGN, ids=lambda mutant: mutant.name)
def test_a_silent_mutant_is_silent(mutant, tmp_path):
    """No exception anywhere: nobody is told."""
    file = tmp_path / "mutated.py"
    file.write_text(mutant.source(ROOT), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mutated", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutated"] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of the order of schedule and step
            if not mutant.crashes:
                return use(module, tmp_path)
            with pytest.raises((KeyError, RuntimeError, IndexError, ValueError)):
                use(module, tmp_path)
    finally:
        del sys.modules["mutated"]
