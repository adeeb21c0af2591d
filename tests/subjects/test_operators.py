"""The mechanical mutants: what each operator makes of a line, and what becomes of those of a whole model."""

import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from mutants.classify import classified  # noqa: E402 - benchmarks/ is no package of ours
from mutants.mechanical import edit  # noqa: E402
from mutants.operators import mutants  # noqa: E402

SUBJECTS = ("gpt2_like", "llama_like")


@pytest.mark.parametrize(
    ("line", "made"),
    [
        ("y = a + b", {"y = (a - b)", "y = b", "y = a"}),
        ("y = a / b", {"y = (a * b)"}),
        ("y = x.mean(-1)", {"y = x.mean(-2)", "y = x"}),
        ("y = a < b", {"y = a <= b"}),
        ("y = not a", {"y = a"}),
        (
            "y = [True, 3, 0.5]",
            {"y = [False, 3, 0.5]", "y = [True, 4, 0.5]", "y = [True, 2, 0.5]", "y = [True, 3, 1.0]"},
        ),
        ("y = norm(x)", {"y = x"}),
        ("y = x.contiguous()", {"y = x"}),
        ("y = f(a, b)", {"y = f(b, a)", "y = a"}),
        ("y = F.softmax(x, dim=d)", {"y = x", "y = F.softmax(x)"}),
        ("if a:\n    f()", {"if (not a):\n    f()", "if a:\n    pass"}),
        ("y = 'é' + a", {"y = ('é' - a)", "y = a", "y = ('é')"}),
        ("raise ValueError(1)", set()),
        ("x: Tensor[1]", set()),
    ],
)
def test_an_operator_makes_these_of_a_line(line, made):
    assert {text for _, _, text in mutants(line)} == made


@pytest.mark.parametrize("name", SUBJECTS)
def test_mutants_are_always_the_same_and_compile(name):
    source = (ROOT / "tests" / "subjects" / f"{name}.py").read_text()
    made = list(mutants(source))
    assert made == list(mutants(source))
    assert len(made) > 500
    for said, line, text in made:
        assert text != source
        compile(text, f"{name}:{line} {said}", "exec")


@pytest.mark.parametrize(
    ("clean", "mutated", "said"),
    [
        ("a\n  y = f(x)\nb", "a\n  y = x\nb", "y = f(x) -> y = x"),
        ("y = g(\n  f(a),\n  b,\n)", "y = g(a, b)", "y = g( f(a), b, ) -> y = g(a, b)"),
        ("if a:\n  f()", "if a:\n  pass", "f() -> pass"),
    ],
)
def test_a_mutant_is_told_by_what_went_and_what_came(clean, mutated, said):
    assert edit(clean, mutated) == said


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_what_becomes_of_them_is_known(name):
    cases = list(classified(name))
    counts = Counter(case.kind for case in cases)
    assert counts["changed"] >= 60
    kinds = {(case.said): case.kind for case in cases}
    assert (
        kinds["drop call: self.norm(h)" if name == "llama_like" else "drop call: self.ln_f(x)"] == "changed"
    )
    assert kinds["swap arguments: q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)"
                 if name == "gpt2_like" else "swap arguments: xq.transpose(1, 2)"] == "same"  # fmt: skip
