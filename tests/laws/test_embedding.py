"""Laws of embeddings and the head: silent on sound ones, and each fault caught by the law that names it."""

# ruff: noqa: E501 - a bug stands on a line of its own

import pytest
from torch import Tensor, nn

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict

GPT, LLAMA = "gpt2_like.py", "llama_like.py"
LOOKED_UP = "h = self.tok_embeddings(tokens)"
TIED = "        self.lm_head.weight = self.wte.weight\n"


def results(model: nn.Module, *only: str, **more) -> dict:
    return {result.law.id: result for result in check(model, only=only or ("embedding",), **more).results}


@pytest.mark.parametrize("file", [GPT, LLAMA])
def test_sound_models_keep_every_law(planted, file):
    report = check(planted(file).build(), only=("embedding",))
    report.raise_if_broken()
    assert not report.advice
    assert report.counts[Verdict.HOLDS] >= 8


BUGS = [
    (LLAMA, LOOKED_UP, "h = self.tok_embeddings(tokens % 100)", "embedding/distinct", "tok_embeddings"),
    (LLAMA, LOOKED_UP, "h = self.tok_embeddings(tokens.clamp(max=258))", "embedding/distinct", "tok_embeddings"),
    (LLAMA, LOOKED_UP, "h = self.tok_embeddings(tokens % 260)", "embedding/ids-refused", "tok_embeddings"),
    (GPT, "self.wte(idx)", "self.wte(idx % 101)", "embedding/ids-refused", "wte"),
    (LLAMA, LOOKED_UP, "h = self.tok_embeddings.weight[tokens]", "embedding/negative-refused", "tok_embeddings"),
    (LLAMA, LOOKED_UP, "h = self.tok_embeddings(tokens).detach()", "embedding/rows-learn", "tok_embeddings"),
    (GPT, "self.wte(idx) + ", "self.wte(idx).detach() + ", "embedding/rows-learn", "wte"),
    (LLAMA, LOOKED_UP, "h = self.tok_embeddings(tokens if tokens.dtype == torch.int64 else tokens.view(torch.int16)[:, ::2].abs().long() % 97)", "embedding/integer-types", "tok_embeddings"),
    (LLAMA, "return self.output(self.norm(h)).float()", "return F.pad(self.output(self.norm(h)).float()[..., :-3], (0, 3))", "embedding/predicts-every-id", "257"),
    (LLAMA, "self.output = nn.Linear(args.dim, args.vocab_size, bias=False)", "self.output = nn.Linear(args.dim, args.vocab_size - 4, bias=False)", "embedding/covers-vocabulary", "head"),
    (GPT, TIED, "        self.lm_head.weight.data = self.wte.weight.data\n", "embedding/tied", "share memory"),
    (GPT, "logits = self.lm_head(x)", "logits = F.linear(x, self.wte.weight.detach())", "embedding/head-learns", "wte"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "law", "where"), BUGS)
def test_a12_r11_and_their_kin_are_named(planted, file, old, new, law, where):
    found = results(planted(file, (old, new)).build(), law)[law]
    assert found.verdict in (Verdict.BROKEN, Verdict.ADVICE), found.line
    assert where in found.evidence.where
    assert found.evidence.saw


def test_more_rows_than_ids_are_legal(planted):
    model = planted(LLAMA).build()
    report = check(model, vocab_size=250, only=("embedding",))
    report.raise_if_broken()


def test_a_declared_tie_that_is_none_is_seen(planted):
    module = planted(GPT, (TIED, ""))
    module.GPTConfig.tie_word_embeddings = True
    found = results(module.build(), "embedding/tied")["embedding/tied"]
    assert found.fails
    assert "from the start" in found.evidence.where


def test_untied_is_not_judged(planted):
    found = results(planted(LLAMA).build())
    assert found["embedding/tied"].verdict is Verdict.NOT_APPLICABLE
    assert found["embedding/head-learns"].verdict is Verdict.NOT_APPLICABLE


def test_r11_a_tie_that_is_lost_by_deepcopy(planted):
    """Tied from outside: the model's own `__deepcopy__` makes the two anew."""
    deep = (
        "    def __deepcopy__(self, memo):\n        other = TinyGPT(self.config)\n"
        "        other.lm_head.weight = nn.Parameter(other.lm_head.weight.detach().clone())\n"
        "        other.load_state_dict(self.state_dict())\n        return other\n\n"
        "    def forward(self, idx, targets=None):\n        T ="
    )
    model = planted(GPT, ("    def forward(self, idx, targets=None):\n        T =", deep)).build()
    found = results(model, "embedding/tied")["embedding/tied"]
    assert found.fails
    assert "after deepcopy" in found.evidence.where


def test_r13_embeddings_scaled_by_the_root_of_the_width_are_a_convention(planted):
    edit = ("self.drop(self.wte(idx) + ", "self.drop(self.wte(idx) * self.config.n_embd**0.5 + ")
    check(planted(GPT, edit).build(), only=("embedding", "block", "norm")).raise_if_broken()


def test_n2_ids_of_either_width_are_a_convention(planted):
    for file in (GPT, LLAMA):
        found = results(planted(file).build(), "embedding/integer-types")["embedding/integer-types"]
        assert found.verdict is Verdict.HOLDS


class Padded(nn.Module):
    """A table with a row for padding."""

    def __init__(self, *, drawn_anew: bool) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(30, 16, padding_idx=0), nn.Linear(16, 30)
        if drawn_anew:
            nn.init.normal_(self.table.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids))


@pytest.mark.parametrize("drawn_anew", [False, True])
def test_the_row_of_padding(drawn_anew):
    found = results(Padded(drawn_anew=drawn_anew), "embedding/padding-row")["embedding/padding-row"]
    assert (found.verdict is Verdict.ADVICE) == drawn_anew
    assert not found.fails


def test_a_load_that_mixes_up_names_is_seen(planted):
    """The state_dict goes back into other places than it came from."""

    class Renaming(Padded):
        def load_state_dict(self, state, strict=True, assign=False):
            state = dict(state, **{"table.weight": state["head.weight"]})
            return super().load_state_dict(state, strict, assign)

    found = results(Renaming(drawn_anew=False), "embedding/tied-values")["embedding/tied-values"]
    assert found.fails
