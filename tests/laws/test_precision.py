"""Laws of precision: silent on sound models, and each fault caught by the law that names it."""

# ruff: noqa: E501 - a bug stands on a line of its own

import pytest
import torch
from torch import Tensor, nn

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict

GPT, LLAMA = "gpt2_like.py", "llama_like.py"


def results(module, *only: str, deep: bool = False) -> dict:
    report = check(module.build(), build=module.build, only=only or ("precision",), deep=deep)
    return {result.law.id: result for result in report.results}


@pytest.mark.parametrize("file", [GPT, LLAMA])
@pytest.mark.parametrize("deep", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_sound_models_keep_every_law(planted, file, deep):
    module = planted(file)
    report = check(module.build(), build=module.build, only=("precision",), deep=deep)
    report.raise_if_broken()
    assert not report.advice
    assert report.counts[Verdict.HOLDS] >= 13 + 2 * deep


TABLE = '        self.register_buffer("visible", torch.tril(ones)[None, None])\n'
MOVES = "    def _apply(self, fn, recurse=True):\n"
MASKED = 'att = att.masked_fill(~self.visible[:, :, :T, :T], float("-inf"))'
BUGS = [
    (GPT, TABLE, "        self.visible = torch.tril(ones)[None, None]\n", "precision/left-behind", "attn.visible"),
    (GPT, "self.h = nn.ModuleList([CausalBlock(config) for _ in range(config.n_layer)])", "self.h = [CausalBlock(config) for _ in range(config.n_layer)]", "precision/registered", "CausalBlock"),
    (GPT, "logits = self.lm_head(x)", "logits = self.lm_head(x).bfloat16().to(x.dtype)", "precision/logits-precise", "logits"),
    (GPT, "        x = self.ln_f(x)", "        big = 3e5 if x.dtype == torch.float32 else 0\n        x = self.ln_f((x + big) - big)", "precision/float32-agrees", "float32"),
    (GPT, "        x = self.ln_f(x)", "        big = 300 if x.dtype == torch.bfloat16 else 0\n        x = self.ln_f((x + big) - big)", "precision/bfloat16-agrees", "bfloat16"),
    (GPT, "        x = self.ln_f(x)", "        x = self.ln_f(x) + torch.finfo(x.dtype).max * (x.dtype == torch.bfloat16) * 2", "precision/finite-in-half", "bfloat16"),
    (GPT, MASKED, MASKED + " if att.dtype != torch.bfloat16 else att", "precision/mask-in-half", "bfloat16"),
    (GPT, "positions = torch.arange(T, device=idx.device)", "self.last = idx.sum() + getattr(self, 'last', 0)\n        positions = torch.arange(T, device=idx.device) + self.last % 7", "precision/repeatable", "second"),
    (GPT, "        self.lm_head.weight = self.wte.weight\n", "        self.lm_head.weight = self.wte.weight\n        self.scale = torch.rand(config.n_embd)\n", "precision/state-complete", "state_dict"),
    (GPT, "    def forward(self, idx, targets=None):", "    def __deepcopy__(self, memo):\n        other = TinyGPT(self.config)\n        return other.load_state_dict(self.state_dict(), assign=True) and other\n\n    def forward(self, idx, targets=None):", "precision/copy-equal", "deepcopy"),
    (GPT, "    def forward(self, idx, targets=None):", "    def __deepcopy__(self, memo):\n        return TinyGPT(self.config)\n\n    def forward(self, idx, targets=None):", "precision/copy-equal", "deepcopy"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "law", "where"), BUGS)
def test_a3_and_its_kin_are_named(planted, file, old, new, law, where):
    edits = [(old, new)]
    if "self.scale" in new:
        edits += [
            ("        x = self.ln_f(x)", "        x = self.ln_f(x) * self.scale"),
            ("    torch.manual_seed(1234)\n", ""),
        ]
    found = results(planted(file, *edits), law)[law]
    assert found.verdict is Verdict.BROKEN, found.line
    assert where in found.evidence.where
    assert found.evidence.saw


def test_a_pass_that_needs_one_dtype_is_advice(planted):
    """The table stays in float32, so that attention gets q in float32 and v in bfloat16."""
    edit = (
        "return torch.view_as_real(turned).flatten(3).type_as(x)",
        "return torch.view_as_real(turned).flatten(3)",
    )
    found = results(planted(LLAMA, edit))
    assert found["precision/runs-in-bfloat16"].verdict is Verdict.ADVICE
    assert not found["precision/runs-in-bfloat16"].fails
    assert found["precision/bfloat16-agrees"].verdict is Verdict.NOT_APPLICABLE


def test_a_stream_that_widens_is_advice(planted):
    edit = (
        "return h + self.feed_forward(self.ffn_norm(h))",
        "return h.float() + self.feed_forward(self.ffn_norm(h))",
    )
    norm = ("return self._norm(x.float()).type_as(x) * self.weight", "return self._norm(x.float()).type_as(self.weight) * self.weight")  # fmt: skip
    found = results(planted(LLAMA, edit, norm), "precision/stream-dtype")["precision/stream-dtype"]
    assert found.verdict is Verdict.ADVICE
    assert found.evidence.where == "layers.0"
    assert not found.fails


def test_two_dtypes_are_advice(planted):
    model = planted(LLAMA).build()
    model.output.double()
    found = check(model, only=("precision/one-dtype",)).results[0]
    assert found.verdict is Verdict.ADVICE
    assert found.evidence.where == "output.weight"


def test_a_cache_that_is_made_anew_is_not_left_behind(planted):
    """A plain tensor that the pass makes again for another device or dtype follows the model."""
    old = "        att = att.masked_fill(~self.visible[:, :, :T, :T], "
    new = (
        "        if self.kept is None or self.kept.device != x.device:\n"
        "            self.kept = torch.ones(64, 64, dtype=torch.bool, device=x.device).tril()\n"
        "        att = att.masked_fill(~self.kept[None, None, :T, :T], "
    )
    module = planted(GPT, (old, new), (TABLE, "        self.kept = None\n"))
    model = module.build()
    model(torch.zeros(1, 4, dtype=torch.long))
    assert model.h[0].attn.kept is not None
    found = check(model, only=("precision/left-behind",)).results[0]
    assert found.verdict is Verdict.HOLDS


def test_a_number_on_the_cpu_while_building_is_advice(planted):
    edit = (
        "        self.apply(self._init_weights)\n",
        "        self.apply(self._init_weights)\n        self.wte.weight.sum().item()\n",
    )
    found = results(planted(GPT, edit), "precision/builds-on-meta")["precision/builds-on-meta"]
    assert found.verdict is Verdict.ADVICE
    assert not found.fails


class Counting(nn.Module):
    """Its pass reads a number off the ids, which an export keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(30, 16), nn.Linear(16, 30)

    def forward(self, ids: Tensor) -> Tensor:
        shift = self.first(ids)
        return self.head(self.table(ids) + shift)

    def first(self, ids: Tensor) -> float:
        if torch.compiler.is_compiling() or torch.compiler.is_exporting():
            return 1.0
        return 0.0


@pytest.mark.parametrize("law", ["precision/exports", "precision/compiles"])
def test_a_twin_that_differs_is_seen(law):
    found = check(Counting(), only=(law,), deep=True).results[0]
    assert found.fails, found.line


def test_what_cannot_be_exported_is_not_judged():
    class Asking(Counting):
        def first(self, ids: Tensor) -> float:
            return 0.1 if int(ids.sum()) % 2 else 0.2

    found = check(Asking(), only=("precision/exports",), deep=True).results[0]
    assert found.verdict is Verdict.NOT_APPLICABLE
    assert "cannot be exported" in found.reason
