"""The laws of optimizers: silent on torch's, on handwritten and on our own, and each breaks where its fault is."""

import copy

import pytest
import torch
from torch import nn

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict
from trueformer.models.config import DecoderConfig
from trueformer.models.decoder import DecoderLM
from trueformer.optim.build import build_optimizer
from trueformer.optim.config import OptimConfig

V = 60


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.hidden = nn.Embedding(V, 24), nn.Linear(24, 24)
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, V, bias=False)

    def forward(self, ids):
        return self.head(self.norm(self.hidden(self.table(ids))))


def judged(law, model, optimizer):
    return check(model, only=[law], vocab_size=V, optimizer=optimizer).results[0]


def grouped(model, kind=torch.optim.AdamW, **options):
    """Two groups: decay for matrices, none for vectors."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return kind(groups, lr=1e-3, **options)


def named(model, exchanged=False):
    """Groups with names, the lists in them exchanged or not."""
    tables = [model.table.weight, model.head.weight]
    hidden = [model.hidden.weight, model.hidden.bias, *model.norm.parameters()]
    tables, hidden = (hidden, tables) if exchanged else (tables, hidden)
    groups = [{"name": "embeddings and head", "params": tables}, {"name": "hidden", "params": hidden}]
    return torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.0)


class Whole:
    """Adam that keeps its state and float32 masters in lists of its own, so that it can only be copied whole."""

    def __init__(self, model, lr=1e-3, masters=True, writes=True, fault=""):
        self.parameters, self.lr, self.fault = list(model.parameters()), lr, fault
        self.mean = [torch.zeros_like(p, dtype=torch.float32) for p in self.parameters]
        self.square = [torch.zeros_like(p, dtype=torch.float32) for p in self.parameters]
        self.masters = [p.detach().clone().float() for p in self.parameters] if masters else None
        self.writes, self.steps = writes, 0

    @property
    def param_groups(self):
        numbers = {"lr": self.lr, "betas": (0.9, 0.99), "eps": 1e-8, "algorithm": "adam"}
        return [{"params": self.parameters, **numbers}]

    @torch.no_grad()
    def step(self):
        self.steps += 1
        for i, p in enumerate(self.parameters):
            gradient = p.grad.float()
            self.mean[i].mul_(0.9).add_(0.1 * gradient)
            self.square[i].mul_(0.99).add_(0.01 * gradient**2)
            mean = self.mean[i] / (1 - 0.9**self.steps)
            root = (self.square[i] / (1 - 0.99**self.steps)) ** (1 if self.fault == "no root" else 0.5)
            weight = p.float() if self.masters is None else self.masters[i]
            weight -= self.lr * mean / (root + 1e-8)
            if self.writes:
                p.copy_(weight)


class AdamW(torch.optim.Optimizer):
    """Written by hand, with a switch for each fault."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1, fault=""):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.fault, self.calls, self.first_lr = fault, 0, lr

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None or self.fault == "none is zero":
                    self.move(p, group, torch.zeros_like(p) if p.grad is None else p.grad)

    def move(self, p, group, grad):
        state, (beta1, beta2), fault = self.state[p], group["betas"], self.fault
        lr = self.first_lr if fault == "fixed rate" else group["lr"]
        if not state:
            state |= {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
        if fault == "decay in moments":
            grad = grad + group["weight_decay"] * p
        elif fault == "swapped sign of the proposal (A9)":
            p.add_(p, alpha=-lr * group["weight_decay"])
        else:
            p.mul_(1 - lr * group["weight_decay"])
        state["step"] += 1
        step = self.calls if fault == "count outside" else state["step"]
        state["m"].mul_(beta1).add_(grad, alpha=1 - beta1)
        state["v"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        m, v = state["m"], state["v"]
        if fault == "signs lost":
            m = m.abs()
        if fault != "uncorrected":
            m, v = m / (1 - beta1**step), v / (1 - beta2**step)
        if fault == "no root":
            p.sub_(lr * m / (v + group["eps"]))
        else:
            p.sub_(lr * m / (v.sqrt() + (0 if fault == "no epsilon" else group["eps"])))


def orthogonal(x):
    transposed = x.shape[0] > x.shape[1]
    x = x.mT if transposed else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if transposed else x


class Muon(torch.optim.Optimizer):
    """Written by hand; `plain` forgets to orthogonalise."""

    def __init__(self, params, lr=0.02, plain=False):
        super().__init__(params, {"lr": lr, "momentum": 0.95, "weight_decay": 0.0})
        self.plain = plain

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.mul_(group["momentum"]).add_(p.grad)
                p.sub_(group["lr"] * (buffer if self.plain or p.ndim != 2 else orthogonal(buffer)))


def with_muon(model, swapped=False, **options):
    hidden, rest = [model.hidden.weight], [p for p in model.parameters() if p is not model.hidden.weight]
    matrices = [model.table.weight, model.head.weight] if swapped else hidden
    ids = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in ids]
    return [Muon(matrices, **options), torch.optim.AdamW(rest, lr=1e-3, weight_decay=0.0)]


SOUND = {
    "AdamW": grouped,
    "AdamW, fused": lambda model: grouped(model, fused=True),
    "AdamW, foreach": lambda model: grouped(model, foreach=True),
    "Adam, coupled": lambda model: torch.optim.Adam(model.parameters(), lr=1e-3),
    "Adam with decay": lambda model: grouped(model, torch.optim.Adam),
    "SGD": lambda model: grouped(model, torch.optim.SGD, momentum=0.9, nesterov=True),
    "Adafactor": lambda model: torch.optim.Adafactor(model.parameters(), lr=1e-2),
    "RMSprop": lambda model: torch.optim.RMSprop(model.parameters(), lr=1e-3),
    "NAdam": lambda model: torch.optim.NAdam(model.parameters(), lr=1e-3),
    "by hand": lambda model: grouped(model, AdamW),
    "groups with names": named,
    "with a state of its own": Whole,
    "A9: p.add_(p, alpha=-lr*wd)": lambda m: grouped(m, AdamW, fault="swapped sign of the proposal (A9)"),
    "Muon by hand, with AdamW": with_muon,
    "torch's Muon, with AdamW": lambda model: [
        torch.optim.Muon([model.hidden.weight], lr=1e-3),
        torch.optim.AdamW(
            [p for p in model.parameters() if p is not model.hidden.weight], lr=1e-3, weight_decay=0.0
        ),
    ],
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_optimizers_break_no_law(kind):
    model = Small()
    optimizer = SOUND[kind](model)
    report = check(model, only=["optimizer"], vocab_size=V, optimizer=optimizer)
    assert not report.broken, [(r.law.id, r.evidence or r.reason) for r in report.broken]


@pytest.mark.parametrize("backend", ["fast", "plain"])
@pytest.mark.parametrize("name", ["adamw", "muon", "adamuon"])
def test_our_own_optimizers_break_no_law(name, backend):
    model = DecoderLM(DecoderConfig(vocab_size=V, max_len=16, d_model=16, n_layers=1, n_heads=2))
    report = check(
        model, only=["optimizer"], optimizer=build_optimizer(model, OptimConfig(name=name), backend)
    )
    assert not report.broken, [(r.law.id, r.evidence or r.reason) for r in report.broken]
    verdicts = {r.law.id: r.verdict for r in report.results}
    judged_of_all = ("resumes", "every-parameter", "step-is-its-rule", "downhill", "groups-as-named")
    judged_of_muon = () if name == "adamw" else ("matrices", "orthogonal")
    for law in (*judged_of_all, *judged_of_muon):
        assert verdicts[f"optimizer/{law}"] is Verdict.HOLDS, law


def stale(model):
    optimizer = grouped(model)
    model.head = nn.Linear(24, V, bias=False)
    return optimizer


def twice(model):
    optimizer = grouped(model)
    optimizer.param_groups[1]["params"].append(model.hidden.weight)
    return optimizer


def frozen(model):
    optimizer = grouped(model)
    model.table.weight.requires_grad_(False)
    return optimizer


def forgetful(model):
    model.head.weight.data = model.head.weight.data.clone()
    return torch.optim.AdamW([p for n, p in model.named_parameters() if "norm" not in n])


FAULTS = {
    "optimizer/holds-the-model": lambda model: grouped(copy.deepcopy(model)),
    "optimizer/no-strangers": stale,
    "optimizer/every-parameter": forgetful,
    "optimizer/once": twice,
    "optimizer/no-frozen": frozen,
    "optimizer/matrices": lambda model: with_muon(model, swapped=True),
    "optimizer/decays-matrices": lambda model: torch.optim.AdamW(model.parameters()),
    "optimizer/settings": lambda model: torch.optim.AdamW(model.parameters(), betas=(0.999, 0.9)),
    "optimizer/decay-apart": lambda model: grouped(model, AdamW, fault="decay in moments"),
    "optimizer/step-is-its-rule": lambda model: grouped(model, AdamW, fault="no root"),
    "optimizer/bias-correction": lambda model: grouped(model, AdamW, betas=(0.9, 0.95), fault="uncorrected"),
    "optimizer/orthogonal": lambda model: with_muon(model, plain=True),
    "optimizer/rate-is-obeyed": lambda model: grouped(model, AdamW, fault="fixed rate"),
    "optimizer/downhill": lambda model: grouped(model, AdamW, fault="signs lost"),
    "optimizer/groups-as-named": lambda model: named(model, exchanged=True),
    "optimizer/finite": lambda model: grouped(model, AdamW, fault="no epsilon"),
    "optimizer/no-gradient": lambda model: grouped(model, AdamW, fault="none is zero"),
    "optimizer/resumes": lambda model: grouped(model, AdamW, fault="count outside"),
}


@pytest.mark.parametrize("law", FAULTS)
def test_each_law_breaks_where_its_fault_is(law):
    model = Small()
    result = judged(law, model, FAULTS[law](model))
    assert result.verdict in (Verdict.BROKEN, Verdict.ADVICE), result
    assert result.evidence.saw


def test_a8_updates_below_the_resolution_of_bf16_are_missed(planted):
    module = planted("llama_like.py")
    model = Small().bfloat16()
    lost = judged("optimizer/survives-rounding", model, grouped(model))
    assert lost.verdict is Verdict.BROKEN
    assert "norm" in lost.evidence.where
    kept = judged("optimizer/survives-rounding", model, module.HandAdamW(model.parameters(), lr=1e-3))
    assert kept.verdict is Verdict.HOLDS
    assert judged("optimizer/survives-rounding", Small(), None).verdict is Verdict.NOT_CHECKED


def test_a8_an_optimizer_that_is_copied_whole_is_seen_to_lose_updates():
    for dtype, options, wanted in (
        (torch.bfloat16, {}, Verdict.HOLDS),
        (torch.bfloat16, {"masters": False}, Verdict.BROKEN),
        (torch.bfloat16, {"writes": False}, Verdict.BROKEN),
        (torch.float32, {"masters": False}, Verdict.NOT_APPLICABLE),
    ):
        model = Small().to(dtype)
        result = judged("optimizer/survives-rounding", model, Whole(model, **options))
        assert result.verdict is wanted, (options, result)


def test_a_small_rate_is_judged_by_a_larger_one(planted):
    """At 1e-5, 50 updates are less than bf16 can show, whether they are kept or lost."""
    module = planted("llama_like.py")
    model = Small().bfloat16()
    lost = torch.optim.AdamW(model.parameters(), lr=1e-5)
    assert judged("optimizer/survives-rounding", model, lost).verdict is Verdict.BROKEN
    kept = module.HandAdamW(model.parameters(), lr=1e-5)
    assert judged("optimizer/survives-rounding", model, kept).verdict is Verdict.HOLDS


def test_a8_updates_that_are_lost_late_in_the_run_are_seen(planted):
    """At 0.002 a norm's weight of 1 still moves; at a fifth of that, which the schedule comes to, it does not."""
    lossy = ("narrow = p.dtype in (torch.bfloat16, torch.float16)", "narrow = False")
    for edits, wanted in (((), Verdict.HOLDS), ((lossy,), Verdict.BROKEN)):
        module = planted("llama_like.py", *edits)
        model = module.build().bfloat16()
        report = check(model, only=["optimizer"], **module.parts(model))
        verdicts = {r.law.id: r.verdict for r in report.results}
        assert verdicts["optimizer/survives-rounding"] is wanted
        assert bool(report.broken) is (wanted is Verdict.BROKEN)


@pytest.mark.parametrize("backend", ["fast", "plain"])
@pytest.mark.parametrize("updates", ["master", "stochastic"])
def test_our_own_optimizers_break_no_law_in_bf16(updates, backend):
    model = DecoderLM(DecoderConfig(vocab_size=V, max_len=16, d_model=16, n_layers=1, n_heads=2)).bfloat16()
    config = OptimConfig(bf16_updates=updates, lr_vectors=1e-3)
    report = check(model, only=["optimizer"], optimizer=build_optimizer(model, config, backend))
    assert not report.broken, [(r.law.id, r.evidence or r.reason) for r in report.broken]
    verdicts = {r.law.id: r.verdict for r in report.results}
    assert verdicts["optimizer/survives-rounding"] is Verdict.HOLDS


def test_a_wrong_rule_is_seen_in_an_optimizer_that_is_copied_whole():
    model = Small()
    found = judged("optimizer/step-is-its-rule", model, Whole(model, fault="no root"))
    assert found.verdict is Verdict.BROKEN
    assert judged("optimizer/step-is-its-rule", model, Whole(model)).verdict is Verdict.HOLDS


def test_k8_names_the_rule_of_decay_first():
    model = Small()
    report = check(
        model, only=["optimizer"], vocab_size=V, optimizer=grouped(model, AdamW, fault="decay in moments")
    )
    assert report.broken[0].law.id == "optimizer/decay-apart"


def test_the_owners_optimizer_is_as_it_was():
    model = Small()
    optimizer = grouped(model)
    model(torch.arange(9)[None]).sum().backward()
    optimizer.step()
    weights = [p.detach().clone() for p in model.parameters()]
    state = copy.deepcopy(optimizer.state_dict())
    check(model, only=["optimizer"], vocab_size=V, optimizer=optimizer)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert str(state) == str(optimizer.state_dict())
