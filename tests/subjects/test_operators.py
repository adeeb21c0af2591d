"""The mechanical mutants: what each operator makes of a line, and what becomes of those of a whole model."""

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from mutants.classify import classified, load  # noqa: E402 - benchmarks/ is no package of ours
from mutants.mechanical import edit  # noqa: E402
from mutants.operators import mutants  # noqa: E402
from mutants.survivors import BIAS, NO_BUG, SIGN  # noqa: E402

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


NEGATED = {  # which parameters a sign is taken in by
    "- self.bias": "ln_",
    "x - self.attn": ".attn.c_proj.",
    "x - self.mlp": ".mlp.c_proj.",
    "- self.wpe": "wpe.",
    "x - self.attention": ".wo.",
    "h - self.feed_forward": ".w2.",
}


def logits(source, state):
    """Those of the model of this text with these parameters; biases that are not among them are zero."""
    model = load(source).build().double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state.get(name, torch.zeros_like(parameter)))
        ids = torch.randint(101, (2, 24), generator=torch.Generator().manual_seed(0))
        return model(ids, ids)[0] if hasattr(model, "wpe") else model(ids)


@pytest.mark.parametrize("name", [name for name, why in NO_BUG.items() if why in (SIGN, BIAS)])
def test_mutants_that_are_no_bugs_are_the_clean_model_with_other_weights(name):
    subject, _, change = name.partition(": ")
    old, _, new = change.partition(" -> ")
    clean = (ROOT / "tests" / "subjects" / f"{subject}.py").read_text()
    assert clean.count(old) == 1
    generator = torch.Generator().manual_seed(0)
    state = {
        name: p.detach().double() + 0.3 * torch.randn(p.shape, generator=generator, dtype=torch.double)
        for name, p in load(clean).build().named_parameters()
    }
    taken = [part for sign, part in NEGATED.items() if sign in new]
    assert bool(taken) == (NO_BUG[name] == SIGN)
    turned = {
        key: -p if any(part in key and ("ln_" not in part or "bias" in key) for part in taken) else p
        for key, p in state.items()
    }
    mutated, wanted = clean.replace(old, new), logits(clean, state)
    assert (logits(mutated, turned) - wanted).abs().max() <= 1e-9 * wanted.abs().max()
    if taken:
        assert (logits(mutated, state) - wanted).abs().max() > 1e-3 * wanted.abs().max()


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
