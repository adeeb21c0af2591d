"""Laws of blocks: silent on sound ones, and each fault caught by the law that names it, at the place where it is."""

# ruff: noqa: E501 - a bug stands on a line of its own

import copy

import pytest
import torch
from torch import Tensor, nn

from trueformer.doctor.check import check
from trueformer.laws.block_parts import groups
from trueformer.laws.law import Verdict
from trueformer.subject.subject import Subject

GPT, LLAMA = "gpt2_like.py", "llama_like.py"


def results(model: nn.Module, *only: str, **more) -> dict:
    return {result.law.id: result for result in check(model, only=only or ("block",), **more).results}


@pytest.mark.parametrize("file", [GPT, LLAMA])
def test_sound_models_keep_every_law(planted, file):
    report = check(planted(file).build(), only=("block",))
    report.raise_if_broken()
    assert not report.advice
    assert report.counts[Verdict.HOLDS] >= 15


BUGS = [
    (GPT, "x = x + self.mlp(self.ln_2(x))", "x = self.mlp(self.ln_2(x))", "block/residual", "mlp"),
    (GPT, "x = x + self.attn(self.ln_1(x))", "x = self.attn(self.ln_1(x))", "block/residual", "attn"),
    (LLAMA, "return h + self.feed_forward(self.ffn_norm(h))", "return self.feed_forward(self.ffn_norm(h))", "block/residual", "feed_forward"),
    (LLAMA, "h = x + self.attention(self.attention_norm(x), freqs_cis, start_pos)", "h = self.attention(self.attention_norm(x), freqs_cis, start_pos)", "block/residual", "attention"),
    (LLAMA, "return h + self.feed_forward", "return x + self.feed_forward", "block/layers-add", "layers."),
    (GPT, "x = x + self.mlp(self.ln_2(x))", "x = x + x + self.mlp(self.ln_2(x))", "block/stream-kept", "h."),
    (GPT, "x = x + self.mlp(self.ln_2(x))", "x = self.mlp(self.ln_2(x)) - x", "block/stream-kept", "h."),
    (GPT, "for block in self.h:", "for block in self.h[:-1]:", "block/used", "h.2"),
    (GPT, "            x = block(x)", "            x = x + 0 * block(x)", "block/used", "h."),
    (GPT, "for block in self.h:", "for block in reversed(self.h):", "block/order", "h."),
    (GPT, "F.gelu(self.c_fc(x))", "F.gelu(self.c_fc(x)) + F.gelu(self.c_fc(x)).mean(1, keepdim=True)", "block/feed-forward-per-token", "mlp"),
    (GPT, "F.gelu(self.c_fc(x))", "self.c_fc(x)", "block/feed-forward-bends", "mlp"),
    (GPT, "self.mlp(self.ln_2(x))", "self.mlp(self.ln_1(x))", "block/gradient-reaches", "ln_2.weight"),
    (GPT, "F.gelu(self.c_fc(x))", "F.gelu(self.c_fc(x)).detach()", "block/gradient-reaches", "c_fc"),
    (LLAMA, "F.silu(self.w1(x)) * self.w3(x)", "F.silu(self.w1(x)) * self.w1(x)", "block/gradient-reaches", "w3"),
    (LLAMA, "h = self.tok_embeddings(tokens)", "h = self.tok_embeddings(tokens).detach()", "block/gradient-reaches", "tok_embeddings"),
    (GPT, "self.drop(self.wte(idx) + self.wpe(positions))", "F.dropout(self.wte(idx) + self.wpe(positions), 0.1)", "block/dropout-off", "h.0"),
    (GPT, "att = self.attn_dropout(att)", "att = F.dropout(att, self.attn_dropout.p)", "block/dropout-off", "h.0"),
    (GPT, "T = idx.shape[1]", "T = idx.shape[1]\n        idx[:, 0] = 5", "block/inputs-kept", "ids"),
    (GPT, "logits = self.lm_head(x)", "logits = self.lm_head(x)\n        targets[targets == 0] = IGNORE", "block/inputs-kept", "targets"),
    (GPT, "[CausalBlock(config) for _ in range(config.n_layer)]", "[CausalBlock(config)] * config.n_layer", "block/own-weights", "h.0"),
]  # fmt: skip

CUT_OFF = [  # R6: heads that do not divide the width; A4b: a head whose last channels the rotation leaves out
    (GPT, "y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)", "y = F.pad((att @ v)[:, :-1].transpose(1, 2).flatten(2), (0, C // self.n_head))", "c_attn"),
    (LLAMA, "return torch.view_as_real(turned).flatten(3).type_as(x)", "return F.pad(torch.view_as_real(turned[..., :-1]).flatten(3), (0, 2)).type_as(x)", "wq"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "where"), CUT_OFF)
def test_r6_a4b_channels_that_are_cut_off_in_silence(planted, file, old, new, where):
    report = check(planted(file, (old, new)).build())
    assert [result.law.id for result in report.broken] == ["block/no-idle-rows"]
    assert where in report.broken[0].evidence.where


@pytest.mark.parametrize(("file", "old", "new", "law", "where"), BUGS)
def test_k6_a13a_and_their_kin_are_named(planted, file, old, new, law, where):
    found = results(planted(file, (old, new)).build(), law, claims={"pad_id": 0})[law]
    assert found.verdict in (Verdict.BROKEN, Verdict.ADVICE), found.line
    assert where in found.evidence.where
    assert found.evidence.saw


def test_dropout_that_is_built_and_not_called(planted):
    edits = [
        ("self.drop(self.wte(idx) + self.wpe(positions))", "self.wte(idx) + self.wpe(positions)"),
        ("        att = self.attn_dropout(att)\n", ""),
        ("return self.resid_dropout(self.c_proj(y))", "return self.c_proj(y)"),
        (
            "return self.dropout(self.c_proj(F.gelu(self.c_fc(x))))",
            "return self.c_proj(F.gelu(self.c_fc(x)))",
        ),
    ]
    found = results(planted(GPT, *edits).build())
    assert found["block/dropout-on"].fails
    assert found["block/dropout-off"].verdict is Verdict.HOLDS


DROPOUTS = [
    ("self.drop(self.wte(idx) + self.wpe(positions))", "self.wte(idx) + self.wpe(positions)", "drop"),
    ("        att = self.attn_dropout(att)\n", "", "h.0.attn.attn_dropout"),
    ("return self.resid_dropout(self.c_proj(y))", "return self.c_proj(y)", "h.0.attn.resid_dropout"),
    ("return self.dropout(self.c_proj(F", "return (self.c_proj(F", "h.0.mlp.dropout"),
]


@pytest.mark.parametrize(("old", "new", "where"), DROPOUTS)
def test_one_dropout_of_four_that_is_not_called(planted, old, new, where):
    found = results(planted(GPT, (old, new)).build())
    assert found["block/dropouts-used"].fails
    assert found["block/dropouts-used"].evidence.where == where
    assert found["block/dropout-on"].verdict is Verdict.HOLDS


@pytest.mark.parametrize("rate", ["self.attn_dropout.p", "0.1"])
def test_a_rate_that_a_function_gets_is_a_dropout_used(planted, rate):
    """As transformers and nanoGPT do: the module is not called, fused attention gets its rate, or a copy of it."""
    edits = [("att = self.attn_dropout(att)", f"att = F.dropout(att, {rate}, self.training)")]
    found = results(planted(GPT, *edits).build())["block/dropouts-used"]
    assert found.verdict is Verdict.HOLDS
    edits.append(("return self.resid_dropout(self.c_proj(y))", "return self.c_proj(y)"))
    assert results(planted(GPT, *edits).build())["block/dropouts-used"].evidence.measured == 3  # blocks


def test_no_dropout_is_not_judged(planted):
    found = results(planted(LLAMA).build())["block/dropout-on"]
    assert found.verdict is Verdict.NOT_APPLICABLE
    assert "no module says a rate" in found.reason


def test_r6_a_truncated_head_is_seen(planted):
    """48 channels among 5 heads: 9 each, and 3 that are cut off in silence."""
    edits = [
        ("if config.n_embd % config.n_head != 0:", "if config.n_head == 0:"),
        ("n_head: int = 4", "n_head: int = 5"),
        (
            "q, k, v = self.c_attn(x).split(C, dim=2)",
            "q, k, v = self.c_attn(x).split(C, dim=2)\n        whole, C = C, C // self.n_head * self.n_head\n"
            "        q, k, v = q[..., :C], k[..., :C], v[..., :C]",
        ),
        (".contiguous().view(B, T, C)", ".contiguous().view(B, T, C)\n        y = F.pad(y, (0, whole - C))"),
    ]
    found = results(planted(GPT, *edits).build())["block/no-idle-rows"]
    assert found.fails
    assert found.evidence.measured == 9  # 3 rows each of q, k and v
    assert "c_attn" in found.evidence.where


@pytest.mark.parametrize("file", [GPT, LLAMA])
def test_scales_that_explode_are_seen(planted, file):
    model = planted(file).build()
    with torch.no_grad():
        for i, block in enumerate(model.h if file == GPT else model.layers):
            last = block.mlp.c_proj if file == GPT else block.feed_forward.w2
            last.weight.mul_(10.0 ** (3 * i + 2))
    found = results(model)
    assert found["block/activation-scale"].fails
    assert found["block/gradient-scale"].fails


def test_blocks_copied_from_one_are_advice(planted):
    model = planted(LLAMA).build()
    for i in (1, 2):
        model.layers[i] = copy.deepcopy(model.layers[0])
    found = results(model)["block/distinct-start"]
    assert found.verdict is Verdict.ADVICE
    assert not found.fails
    assert "layers.0 and layers.1" in found.evidence.where


class Expert(nn.Sequential):
    """A small feed-forward layer."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))


class Block(nn.Module):
    """A block in one of many legal shapes, around a layer that mixes what came before."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.norm, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.mix, self.out = nn.Linear(16, 16), nn.Linear(16, 16)
        self.experts = nn.ModuleList(Expert() for _ in range(3))
        self.scales = nn.Parameter(torch.ones(2))
        if kind == "zeros":
            nn.init.zeros_(self.out.weight)

    def attend(self, x: Tensor) -> Tensor:
        steps = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        return self.out(self.mix(x).cumsum(1) / steps)

    def mlp(self, x: Tensor) -> Tensor:
        return self.experts[0](x) if self.kind == "experts" else sum(expert(x) for expert in self.experts)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "post":
            x = self.norm(x + self.attend(x))
            return self.norm2(x + self.mlp(x))
        if self.kind == "parallel":
            return x + self.attend(self.norm(x)) + self.mlp(self.norm2(x))
        if self.kind == "scaled":
            x = (x + self.attend(self.norm(x))) * 0.5**0.5
            return (x + self.mlp(self.norm2(x))) * 0.5**0.5
        x = x * self.scales[0] + self.attend(self.norm(x))
        return x * self.scales[1] + self.mlp(self.norm2(x))


class Model(nn.Module):
    """Three of them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(40, 16), nn.Linear(16, 40)
        self.rows = nn.Sequential(*(Block(kind) for _ in range(3)))

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.rows(self.table(ids)))


@pytest.mark.parametrize("kind", ["pre", "post", "parallel", "scaled", "zeros", "experts"])
def test_legal_shapes_of_blocks_are_silent(kind):
    model = Model(kind)
    for block in model.rows:
        if kind in ("post", "parallel", "scaled"):
            del block.scales
    assert groups(Subject(model=model)) == [["rows.0", "rows.1", "rows.2"]]
    report = check(model, only=("block",))
    report.raise_if_broken()
    assert not report.advice


def test_a_model_without_blocks_is_not_judged():
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(40, 16), nn.Linear(16, 40)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.table(ids))

    found = results(Flat())["block/residual"]
    assert found.verdict is Verdict.NOT_APPLICABLE
    assert "no blocks were seen" in found.reason
