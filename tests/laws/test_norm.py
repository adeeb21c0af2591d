"""Laws of norms: silent on sound ones whatever they are called, and each fault caught by the law that names it."""

# ruff: noqa: E501 - a bug stands on a line of its own

import pytest
import torch
from torch import Tensor, nn

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict
from trueformer.laws.norm_modules import norms
from trueformer.subject.subject import Subject

GPT, LLAMA = "gpt2_like.py", "llama_like.py"
LLAMA_NORM = "return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)"
GPT_NORM = "normed = centred * torch.rsqrt(variance + self.eps)"


def results(model: nn.Module, *only: str, **more) -> dict:
    report = check(model, vocab_size=more.pop("vocab_size", None), only=only or ("norm",), **more)
    return {result.law.id: result for result in report.results}


@pytest.mark.parametrize("file", [GPT, LLAMA])
def test_sound_models_keep_every_law(planted, file):
    report = check(planted(file).build(), only=("norm",))
    report.raise_if_broken()
    assert not report.advice
    assert report.counts[Verdict.HOLDS] == 11


@pytest.mark.parametrize("file", [GPT, LLAMA])
def test_models_in_half_precision_keep_every_law(planted, file):
    report = check(planted(file).build().bfloat16(), only=("norm",))
    report.raise_if_broken()
    assert report.counts[Verdict.HOLDS] == 11


BUGS = [
    (LLAMA, LLAMA_NORM, LLAMA_NORM.replace(" + self.eps", ""), "norm/finite-on-zeros"),
    (LLAMA, LLAMA_NORM, LLAMA_NORM.replace(" + self.eps", ""), "norm/finite-on-tiny"),
    (LLAMA, LLAMA_NORM, LLAMA_NORM.replace(" + self.eps", ""), "norm/finite-stream"),
    (GPT, GPT_NORM, "normed = centred / (variance.sqrt() + self.eps)", "norm/finite-gradient"),
    (GPT, GPT_NORM, "normed = centred / (variance.sqrt() + self.eps)", "norm/epsilon-inside"),
    (LLAMA, LLAMA_NORM, LLAMA_NORM.replace("self.eps", "1e-2"), "norm/epsilon-inside"),
    (LLAMA, LLAMA_NORM, "return x / (x.pow(2).mean(-1, keepdim=True) + self.eps)", "norm/scale-invariant"),
    (LLAMA, LLAMA_NORM, "return x * x.exp() / x.exp().sum(-1, keepdim=True)", "norm/finite-on-huge"),
    (GPT, GPT_NORM, "normed = centred / (variance + self.eps)", "norm/scale-invariant"),
    (LLAMA, LLAMA_NORM, LLAMA_NORM.replace("mean", "sum"), "norm/unit-size"),
    (GPT, "variance = centred.pow(2).mean(-1, keepdim=True)", "variance = centred.pow(2).mean(1, keepdim=True)", "norm/per-token"),
    (LLAMA, LLAMA_NORM, LLAMA_NORM.replace("x *", "(x - x.mean(-1, keepdim=True)) *"), "norm/mean"),
    (GPT, "centred = widen(x) - widen(x).mean(-1, keepdim=True)", "centred = widen(x)", "norm/mean"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "law"), BUGS)
def test_k4_and_its_kin_are_named(planted, file, old, new, law):
    found = results(planted(file, (old, new)).build(), law)[law]
    assert found.verdict is Verdict.BROKEN, found.line
    assert (
        "norm" in found.evidence.where
        or "ln_" in found.evidence.where
        or "embeddings" in found.evidence.where
    )
    assert found.evidence.saw


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        (
            GPT,
            (
                "centred = widen(x) - widen(x).mean(-1, keepdim=True)",
                "centred = x - x.mean(-1, keepdim=True)",
            ),
        ),
        (LLAMA, ("self._norm(x.float())", "self._norm(x)")),
    ],
)
def test_half_precision_is_an_error_in_half_and_advice_before(planted, file, edit):
    model = planted(file, edit).build()
    wide, narrow = results(model), results(model.bfloat16())
    assert wide["norm/half-ready"].verdict is Verdict.ADVICE
    assert not wide["norm/half-ready"].fails
    assert wide["norm/float32-inside"].verdict is Verdict.NOT_APPLICABLE
    assert narrow["norm/float32-inside"].fails
    assert narrow["norm/half-ready"].verdict is Verdict.NOT_APPLICABLE


class Layer(nn.Module):
    """A pre-norm block without attention around any norm."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.before, self.up, self.down = norm, nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(self.before(x)).relu())


class Model(nn.Module):
    """Two such blocks with an embedding and a head."""

    def __init__(self, make_norm) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(50, 32), nn.Linear(32, 50)
        self.layers = nn.ModuleList(Layer(make_norm()) for _ in range(2))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Plain(nn.Module):
    """x / root mean square, by another name, times 1 + w."""

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.gain, self.small = nn.Parameter(torch.zeros(32)), eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float() if x.dtype != torch.float64 else x
        size = wide.square().mean(-1, keepdim=True).add(self.small).sqrt()
        return (wide / size * (1 + self.gain.to(wide.dtype))).to(x.dtype)


class Tanh(nn.Module):
    """Not a norm, though it keeps shapes and has a vector: DyT."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.alpha = nn.Parameter(torch.ones(32)), nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * torch.tanh(self.alpha * x)


class Bessel(nn.LayerNorm):
    """With the sample's standard deviation, which is legal."""

    def forward(self, x: Tensor) -> Tensor:
        wide = x.double()
        centred = wide - wide.mean(-1, keepdim=True)
        root = (centred.square().sum(-1, keepdim=True) / (x.shape[-1] - 1) + self.eps).sqrt()
        return (centred / root * self.weight + self.bias).to(x.dtype)


@pytest.mark.parametrize(
    "make", [lambda: nn.LayerNorm(32), lambda: nn.RMSNorm(32), Plain, lambda: Bessel(32)]
)
def test_norms_are_found_whatever_they_are_called(make):
    model = Model(make)
    assert [norm.path for norm in norms(Subject(model=model))] == ["layers.0.before", "layers.1.before"]
    report = check(model, only=("norm",))
    report.raise_if_broken()
    assert report.counts[Verdict.HOLDS] >= 7


def test_what_is_no_norm_is_not_judged_as_one():
    found = results(Model(Tanh))
    assert found["norm/finite-on-zeros"].verdict is Verdict.NOT_APPLICABLE
    assert found["norm/finite-stream"].verdict is Verdict.HOLDS


def test_a_nameless_norm_without_epsilon_is_caught():
    found = results(Model(lambda: Plain(eps=0.0)))
    assert found["norm/finite-on-zeros"].evidence.where == "layers.0.before"
    assert found["norm/finite-on-zeros"].fails


def test_an_inlined_norm_without_epsilon_is_caught_from_outside(planted):
    """q and k are normed in the attention's own forward; no module shows it."""
    normed = "xq, xk = (t / t.norm(dim=-1, keepdim=True) for t in (xq, xk))\n        n_rep = self.n_heads"
    found = results(planted(LLAMA, ("n_rep = self.n_heads", normed)).build())
    assert found["norm/finite-on-zeros"].verdict is Verdict.HOLDS
    assert found["norm/finite-stream"].fails


def test_batch_norm_is_not_a_norm_of_tokens():
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.weight = nn.BatchNorm1d(32), nn.Parameter(torch.ones(32))

        def forward(self, x: Tensor) -> Tensor:
            return self.mean(x.flatten(0, 1)).view_as(x) * self.weight

    found = results(Model(Norm))["norm/per-token"]
    assert found.fails
    assert found.evidence.where.startswith("layers.")
