"""The laws of the training loop: silent on sound loops of several styles, and each breaks where its fault is planted."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict

CLIP = "    nn.utils.clip_grad_norm_(model.parameters(), grad_clip)\n"
ZERO = "    optimizer.zero_grad(set_to_none=True)\n"
STEP = "    optimizer.step()\n"
TAKES = "def train_step(model, batches, optimizer, scheduler=None, grad_clip=1.0):\n"
BACK = "            yield\n    finally:\n        model.train(was_training)"
AVERAGE = "            tokens += count\n    return total / tokens"
SHARE = "            share = loss"
PLANTED = {
    "loop/zero-grad": [(ZERO, "")],
    "loop/accumulates-the-mean": [(" * (count / sum(counts))", "")],
    "loop/accumulates-by-tokens": [("(count / sum(counts))", "(1 / len(counts))")],
    "loop/divides-by-targets": [("(count / sum(counts))", "(count / sum(y.numel() for _, y in batches))")],
    "loop/clips-before-step": [(CLIP, ""), (STEP, STEP + CLIP)],
    "loop/clips-globally": [
        (CLIP, "    for p in model.parameters():\n        nn.utils.clip_grad_norm_([p], grad_clip)\n")
    ],
    "loop/clips-only-down": [
        (
            CLIP,
            "    norm = nn.utils.get_total_norm([p.grad for p in model.parameters()])\n"
            "    for p in model.parameters():\n        p.grad.mul_(grad_clip / (norm + 1e-9))\n",
        )
    ],
    "loop/clips-to-its-limit": [(CLIP, "")],
    "loop/trains-in-train-mode": [(TAKES + "    model.train()\n", TAKES + "    model.eval()\n")],
    "loop/evaluates-in-eval-mode": [("    model.eval()\n", "")],
    "loop/returns-to-train-mode": [
        (BACK, BACK.replace("model.train(was_training)", "pass")),
        (TAKES + "    model.train()\n", TAKES),
    ],
    "loop/evaluates-without-gradients": [("        with torch.no_grad():\n", "        with torch.enable_grad():\n")],
    "loop/averages-metrics": [(AVERAGE, AVERAGE.replace("total / tokens", "loss(model, batch).item()"))],
    "loop/steps-once": [(STEP, "    copy.copy(optimizer)\n")],
    "schedule/counts-updates": [
        ("        share.backward()\n", "        share.backward()\n        scheduler.step()\n")
    ],
    "loop/moves-everything": [
        ("    decay = [p for p in params if p.dim() >= 2]", "    decay = [p for p in params if p.dim() >= 2][1:]")
    ],
    "loop/leaves-frozen": [(TAKES, TAKES + "    model.requires_grad_(True)\n")],
    "loop/loss-falls": [("        share.backward()\n", "        (-share).backward()\n")],
    "loop/memory-is-flat": [
        (TAKES, "history = []\n\n\n" + TAKES),
        ("        total += share.item()\n", "        total += share.item()\n        history.append(share)\n"),
    ],
}  # fmt: skip


def judged(module, *only):
    model = module.build()
    parts = {"evaluate": module.evaluate, **module.parts(model)}
    return check(model, only=only, **parts)


@pytest.mark.parametrize("file", ["gpt2_like.py", "llama_like.py"])
def test_no_law_of_the_loop_breaks_of_the_foreign_subjects(planted, file):
    report = judged(planted(file), "loop", "schedule/counts-updates", "schedule/reaches-the-updates")
    fine = (Verdict.HOLDS, Verdict.NOT_APPLICABLE)
    assert [(r.law.id, r.evidence or r.reason) for r in report.results if r.verdict not in fine] == []
    assert sum(r.verdict is Verdict.HOLDS for r in report.results) >= 15


@pytest.mark.parametrize("law", PLANTED)
def test_each_law_breaks_where_its_fault_is_planted(planted, law):
    edits = PLANTED[law]
    if law == "loop/steps-once":
        edits = [*edits, ("import math\n", "import copy\nimport math\n")]
    (result,) = judged(planted("gpt2_like.py", *edits), law).results
    assert result.verdict in (Verdict.BROKEN, Verdict.ADVICE), result
    assert result.evidence.saw


LOWERED = (
    "        share = loss(model, batch)",
    '        with torch.autocast("cpu", torch.bfloat16):\n            share = loss(model, batch)\n        share = share',
)


def test_a_mean_of_means_is_seen_below_autocast_too(planted):
    module = planted("gpt2_like.py", LOWERED, *PLANTED["loop/accumulates-by-tokens"])
    report = judged(module, "loop/accumulates-by-tokens", "loop/accumulates-the-mean", "loop/zero-grad")
    assert [r.law.id for r in report.results if r.verdict is not Verdict.HOLDS] == [
        "loop/accumulates-by-tokens"
    ]
    assert torch.get_autocast_dtype("cpu") is torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")


RATE = 'group["lr"] = learning_rate(step)'
OFF_THE_PLAN = {
    "the rate is not used": ('weight.sub_(group["lr"] * mean', "weight.sub_(MAX_LR * mean"),
    "micro-batches are counted": (RATE, 'group["lr"] = learning_rate(step * len(batches))'),
    "the root of the rate": (RATE, 'group["lr"] = (MAX_LR * learning_rate(step)) ** 0.5'),
}


@pytest.mark.parametrize("edit", OFF_THE_PLAN)
def test_updates_that_are_not_as_long_as_planned(planted, edit):
    law = "schedule/reaches-the-updates"
    assert judged(planted("llama_like.py"), law).results[0].verdict is Verdict.HOLDS
    (result,) = judged(planted("llama_like.py", OFF_THE_PLAN[edit]), law).results
    assert result.verdict is Verdict.BROKEN, result
    assert "as long as" in result.evidence.saw


def test_a_rate_that_somebody_else_sets_is_not_judged(planted):
    (result,) = judged(planted("llama_like.py", (RATE, "pass")), "schedule/reaches-the-updates").results
    assert result.verdict is Verdict.NOT_APPLICABLE


def test_a_model_that_is_returned_to_train_mode_holds(planted):
    module = planted("gpt2_like.py", (TAKES + "    model.train()\n", TAKES))
    (result,) = judged(module, "loop/returns-to-train-mode").results
    assert result.verdict is Verdict.HOLDS


V, T = 40, 16


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(V, 16), nn.Linear(16, V)

    def forward(self, ids):
        return self.head(torch.tanh(self.table(ids)))


def loss(model, batch):
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def loader(count=8):
    text = torch.randint(0, V, (count, 4, T + 1), generator=torch.Generator().manual_seed(0))
    return [(rows[:, :-1], rows[:, 1:]) for rows in text]


def of_one_batch(model, batch, optimizer):
    loss(model, batch).backward()
    optimizer.step()
    optimizer.zero_grad()


def of_means(net, opt, data):
    opt.zero_grad()
    for batch in data:
        (loss(net, batch) / len(data)).backward()
    opt.step()


def keeps_a_clone(model, batches, optimizer, memory=[]):  # noqa: B006 - R2: replaced each time, so constant
    memory[:] = [p.detach().clone() for p in model.parameters()]
    of_means(model, optimizer, batches)


def of_two(model, batches, optimizers):
    for optimizer in optimizers:
        optimizer.zero_grad()
    (loss(model, batches[0])).backward()
    for optimizer in optimizers:
        optimizer.step()


def two_optimizers(model):
    return [
        torch.optim.SGD([model.head.bias], lr=0.1),
        torch.optim.AdamW([model.table.weight, model.head.weight]),
    ]


STYLES = {
    "one batch at a time": (of_one_batch, lambda model: torch.optim.SGD(model.parameters(), lr=0.1)),
    "means of batches alike": (of_means, lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3)),
    "r2 a clone that is replaced": (keeps_a_clone, lambda model: torch.optim.AdamW(model.parameters())),
    "two optimizers": (of_two, two_optimizers),
}


@pytest.mark.parametrize("style", STYLES)
def test_loops_of_other_styles_break_no_law(style):
    step, optimizer = STYLES[style]
    model = Small()
    only = ["loop"] if style != "two optimizers" else ["loop/zero-grad", "loop/steps-once", "loop/loss-falls"]
    parts = {"loss": loss, "loader": loader(), "train_step": step, "optimizer": optimizer(model)}
    report = check(model, only=only, vocab_size=V, max_len=T, **parts)
    assert not report.broken, [(r.law.id, r.evidence or r.reason) for r in report.broken]
    assert {r.law.id: r.verdict for r in report.results}["loop/zero-grad"] is Verdict.HOLDS


def test_a_step_that_brings_its_own_model_is_not_run():
    model = Small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = copy.deepcopy(model.state_dict())

    def step(batches):
        of_means(model, optimizer, batches)

    parts = {"train_step": step, "optimizer": optimizer, "loader": loader(), "loss": loss}
    report = check(model, only=["loop"], vocab_size=V, **parts)
    assert {r.verdict for r in report.results if "evaluate" not in r.law.needs} == {Verdict.NOT_APPLICABLE}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_nothing_of_the_owners_is_moved():
    model = Small()
    optimizer = torch.optim.AdamW(model.parameters())
    of_one_batch(model, loader()[0], optimizer)
    weights = copy.deepcopy(model.state_dict())
    state = str(optimizer.state_dict())
    parts = {"train_step": of_means, "optimizer": optimizer, "loader": loader(), "loss": loss}
    check(model, only=["loop"], vocab_size=V, **parts)
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert str(optimizer.state_dict()) == state
    assert "step" not in vars(optimizer)
