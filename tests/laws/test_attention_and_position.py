"""Laws of attention, heads and position: silent on sound models, and on each planted bug the right one speaks first."""

# ruff: noqa: E501 - a bug stands on a line of its own

import pytest
import torch
from torch import nn

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict

INSIDE = ("attention", "position")
GPT, LLAMA = "gpt2_like.py", "llama_like.py"


def report_of(module, **claims):
    return check(module.build(), only=INSIDE, claims=claims)


@pytest.mark.parametrize("file", [GPT, LLAMA])
def test_sound_models_keep_every_law(planted, file: str) -> None:
    report = report_of(planted(file))
    report.raise_if_broken()
    assert report.counts[Verdict.HOLDS] >= 15
    assert not report.advice


BUGS = [
    ("k1-gpt", GPT, "/ math.sqrt(k.size(-1))", "* math.sqrt(k.size(-1))", "attention/scale"),
    ("k1-llama", LLAMA, "is_causal=mask is None)", "is_causal=mask is None, scale=self.head_dim**0.5)", "attention/scale"),
    ("no scale", GPT, " / math.sqrt(k.size(-1))", "", "attention/scale"),
    ("scaled by the width", GPT, "math.sqrt(k.size(-1))", "math.sqrt(C)", "attention/scale"),
    ("k2-gpt", GPT, "att = F.softmax(att, dim=-1)", "att = F.softmax(att, dim=-2)", "attention/rows"),
    (
        "k2-llama",
        LLAMA,
        "        output = F.scaled_dot_product_attention(xq, keys, values, attn_mask=mask, is_causal=mask is None)\n",
        "        scores = xq @ keys.mT / math.sqrt(self.head_dim)\n"
        "        seen = torch.ones(seqlen, total, dtype=torch.bool).tril(total - seqlen)\n"
        "        output = scores.masked_fill(~seen, float('-inf')).softmax(dim=-2) @ values\n",
        "attention/rows",
    ),
    (
        "k3",
        LLAMA,
        "xq, xk = apply_rotary_emb(xq, freqs_cis), apply_rotary_emb(xk, freqs_cis)",
        "xq, xk, xv = (apply_rotary_emb(x, freqs_cis) for x in (xq, xk, xv))",
        "position/values-stay",
    ),
    (
        "k5",
        LLAMA,
        "    turned = pairs * freqs_cis[None, :, None, :]\n    return torch.view_as_real(turned).flatten(3).type_as(x)",
        "    cos, sin = freqs_cis.real[None, :, None, :], freqs_cis.imag[None, :, None, :]\n"
        "    turned = torch.stack([pairs.real * cos + pairs.imag * sin, pairs.real * sin + pairs.imag * cos], -1)\n"
        "    return turned.flatten(3).type_as(x)",
        "position/relative",
    ),
("n8", LLAMA, "torch.arange(0, dim, 2).double() / dim", "torch.arange(0, dim, 2).double() / (2 * dim)", "position/frequencies"),
    ("other base", LLAMA, "self.args.rope_theta)\n\n    def _apply", "500.0)\n\n    def _apply", "position/frequencies"),
    ("one place for all", LLAMA, "return self.freqs_cis[start : start + length]", "return self.freqs_cis[start : start + 1].expand(length, -1)", "position/distance-matters"),
    ("only q is rotated", LLAMA, "apply_rotary_emb(xq, freqs_cis), apply_rotary_emb(xk, freqs_cis)", "apply_rotary_emb(xq, freqs_cis), xk", "position/relative"),
    ("k the other way", LLAMA, "apply_rotary_emb(xk, freqs_cis)\n", "apply_rotary_emb(xk, freqs_cis.conj())\n", "position/relative"),
    ("groups in turn", LLAMA, "x = x[:, :, :, None, :].expand(bs, slen, n_kv_heads, n_rep, head_dim)", "x = x[:, :, None, :, :].expand(bs, slen, n_rep, n_kv_heads, head_dim)", "attention/groups"),
    ("heads not joined", GPT, "y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)", "y = (att @ v).contiguous().view(B, T, C)", "attention/heads-joined"),
    ("heads not split", GPT, "v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)", "v = v.reshape(B, self.n_head, T, C // self.n_head)", "attention/heads-split"),
    ("no output projection", GPT, "self.resid_dropout(self.c_proj(y))", "self.resid_dropout(y)", "attention/output-projection"),
    ("diagonal hidden", GPT, "torch.tril(ones)[None, None]", "torch.tril(ones, diagonal=-1)[None, None]", "attention"),
    ("one ahead", GPT, "torch.tril(ones)[None, None]", "torch.tril(ones, diagonal=1)[None, None]", "attention/mask"),
    ("transposed", GPT, "torch.tril(ones)[None, None]", "torch.triu(ones)[None, None]", "attention/mask"),
    ("inverted", GPT, "~self.visible[:, :, :T, :T]", "self.visible[:, :, :T, :T]", "attention"),
    ("a small number", GPT, 'float("-inf"))\n        att', "-10.0)\n        att", "attention/mask"),
    ("a middling number", GPT, 'float("-inf"))\n        att', "-800.0)\n        att", "attention/mask-is-infinite"),
    ("mask after softmax", GPT, "att = F.softmax(att, dim=-1)", "att = F.softmax(q @ k.mT / math.sqrt(k.size(-1)), dim=-1) * self.visible[:, :, :T, :T]", "attention/rows"),
    ("mean over time", GPT, "x = self.ln_f(x)", "x = self.ln_f(x) + x.mean(1, keepdim=True)", "attention/causal"),
    ("one ahead, outside of attention", GPT, "x = self.ln_f(x)", "x = self.ln_f(x + F.pad(x[:, 1:], (0, 0, 0, 1)))", "attention/causal"),
    ("rows mixed", GPT, "x = self.ln_f(x)", "x = self.ln_f(x) + x.mean(0, keepdim=True)", "attention/rows-apart"),
    ("one head for all", GPT, "        att = (q @", "        q, k = q[:, :1].expand_as(q), k[:, :1].expand_as(k)\n        att = (q @", "attention/heads-differ"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "law"), [bug[1:] for bug in BUGS], ids=[bug[0] for bug in BUGS]
)
def test_a_planted_bug_is_named(planted, file: str, old: str, new: str, law: str) -> None:
    report = report_of(planted(file, (old, new)), rope_base=10_000.0 if file == LLAMA else None)
    broken = [result.law.id for result in report.broken]
    assert broken, "nothing was found"
    assert broken[0].startswith(law), broken


def test_positions_that_wrap_are_named(planted) -> None:
    taken = (
        "        if seqlen < 1 or start + seqlen > self.args.max_seq_len:",
        "        if seqlen < 1:",
    )
    wrapped = (
        "return self.freqs_cis[start : start + length]",
        "return self.freqs_cis[torch.arange(start, start + length) % len(self.freqs_cis)]",
    )
    assert [result.law.id for result in report_of(planted(LLAMA, taken, wrapped)).broken] == [
        "position/limit"
    ]


class Tall(nn.Module):
    """Learned positions that are kept in whole numbers of the weights' dtype: in bf16, 257 is 256."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vocab_size, self.max_len = 50, 400
        self.embed = nn.Embedding(50, 16)
        self.head = nn.Linear(16, 50)

    def forward(self, ids):
        places = torch.arange(ids.shape[1]).to(self.embed.weight.dtype)
        waves = torch.sin(places[:, None] * torch.arange(1, 17).to(places) / 50)
        x = self.embed(ids) + waves
        scores = (x @ x.mT / 4).masked_fill(torch.ones(len(waves), len(waves)).triu(1).bool(), float("-inf"))
        return self.head(x + scores.softmax(-1) @ x)


def test_positions_that_bf16_rounds_together_are_named() -> None:
    report = check(Tall(), only=["position/every-place-differs"])
    [broken] = report.broken
    assert "256" in broken.line
