"""The laws of the loss: silent on sound losses of every convention, and each breaks where its fault is planted."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueformer.doctor.check import check
from trueformer.laws.law import Verdict

V, T = 50, 16
RETURNS = "return F.cross_entropy(widen(logits.flatten(0, 1)), targets.flatten(), ignore_index=IGNORE)"
PICKED = "logs.gather(-1, targets.clamp(min=0)[..., None])[..., 0][targets >= 0]"


def judged(law, model, **parts):
    claims = parts.pop("claims", {})
    return check(model, only=[law], claims=claims, vocab_size=V, max_len=T, **parts).results[0]


class Small(nn.Module):
    """Logits only, and no fault."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(V, 24), nn.Linear(24, V)

    def forward(self, ids):
        return self.head(torch.tanh(self.table(ids)))


class Inside(Small):
    """Makes its own loss of labels, which it shifts, as the Hugging Face models do."""

    shift = 1

    def forward(self, ids, labels=None):
        logits = super().forward(ids)
        if labels is None:
            return {"logits": logits}
        ahead = logits[:, : -self.shift].flatten(0, 1)
        return {"logits": logits, "loss": F.cross_entropy(ahead, labels[:, self.shift :].flatten())}


def texts(rows=4, count=3):
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, V, (rows, T + 1), generator=generator) for _ in range(count)]


def shifted():
    return [(text[:, :-1], text[:, 1:]) for text in texts()]


def labelled():
    return [{"input_ids": text, "labels": text.clone()} for text in (t[:, :-1] for t in texts())]


def windows_loss(model, windows):
    return F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


SOUND = {
    "torch's own, of logits": (Small, {"loss": F.cross_entropy, "loader": shifted()}),
    "a module": (Small, {"loss": nn.CrossEntropyLoss()}),
    "a sum": (Small, {"loss": lambda logits, y: F.cross_entropy(logits.mT, y, reduction="sum")}),
    "smoothed": (Small, {"loss": lambda logits, y: F.cross_entropy(logits.mT, y, label_smoothing=0.1)}),
    "with z-loss": (
        Small,
        {"loss": lambda x, y: F.cross_entropy(x.mT, y) + 1e-4 * x.logsumexp(-1).square().mean()},
    ),
    "of a model and windows": (Small, {"loss": windows_loss, "loader": texts()}),
    "the model's own, shifted inside": (Inside, {"loader": labelled()}),
    "in bits": (Small, {"loss": lambda logits, y: F.cross_entropy(logits.mT, y) / math.log(2)}),
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_losses_of_every_convention_break_no_law(kind):
    model, parts = SOUND[kind]
    report = check(model(), only=["loss"], vocab_size=V, max_len=T, **parts)
    assert not report.broken, [r.evidence or r.reason for r in report.broken]
    held = {r.law.id for r in report.results if r.verdict is Verdict.HOLDS}
    assert {"loss/positive", "loss/cross-entropy", "loss/finite"} <= held


@pytest.mark.parametrize("file", ["gpt2_like.py", "llama_like.py"])
def test_every_law_of_the_loss_holds_of_the_foreign_subjects(planted, file):
    module = planted(file)
    model = module.build()
    report = check(model, only=["loss"], **module.parts(model))
    others = [r.law.id for r in report.results if r.verdict is not Verdict.HOLDS]
    assert others == ["loss/documents-apart"]  # neither numbers its documents


PLANTED = {
    "loss/positive": (RETURNS, RETURNS.replace("return F", "return -F")),
    "loss/shift": (
        RETURNS,
        "return F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORE)",
    ),
    "loss/ignores-padding": (
        "y = torch.full((len(rows), block_size), IGNORE",
        "y = torch.full((len(rows), block_size), tokenizer.pad_id",
    ),
    "loss/averages-counted": (RETURNS, RETURNS.replace("IGNORE)", "IGNORE, reduction='none').mean()")),
    "loss/cross-entropy": (RETURNS, RETURNS.replace("flatten(0, 1))", "flatten(0, 1)).softmax(-1)")),
    "loss/perfect": (RETURNS, RETURNS.replace("flatten(0, 1))", "flatten(0, 1)).softmax(-1)")),
    "loss/gradient": (RETURNS, "logits = (logits + logits.detach()) / 2\n    " + RETURNS),
    "loss/constant-shift": (
        RETURNS,
        f"logs = logits - logits.clamp(max=9).exp().sum(-1, keepdim=True).log()\n    return -{PICKED}.mean()",
    ),
    "loss/finite": (RETURNS, f"logs = torch.log(torch.softmax(logits, -1))\n    return -{PICKED}.mean()"),
    "loss/initial": (
        "            nn.init.normal_(module.weight, mean=0.0, std=0.02)",
        "            nn.init.normal_(module.weight, mean=0.0, std=1.0)",
    ),
}


@pytest.mark.parametrize("law", PLANTED)
def test_each_law_breaks_where_its_fault_is_planted(planted, law):
    module = planted("gpt2_like.py", PLANTED[law])
    model = module.build()
    (result,) = check(model, only=[law], **module.parts(model)).results
    assert result.verdict in (Verdict.BROKEN, Verdict.ADVICE), result
    assert result.evidence.saw


def test_n3_targets_that_equal_the_inputs_are_seen():
    same = [(x, x.clone()) for x, _ in shifted()]
    result = judged("loss/shift", Small(), loss=F.cross_entropy, loader=same)
    assert result.verdict is Verdict.BROKEN
    assert "itself" in result.evidence.saw


def test_a_double_shift_is_seen():
    twice = [{"input_ids": x, "labels": y} for x, y in shifted()]
    result = judged("loss/shift", Inside(), loader=twice)
    assert result.verdict is Verdict.BROKEN
    assert "after the next" in result.evidence.saw


def test_a_shift_by_two_inside_the_model_is_seen():
    model = Inside()
    model.shift = 2
    assert judged("loss/shift", model, loader=labelled()).verdict is Verdict.BROKEN
    assert judged("loss/shift", Inside(), loader=labelled()).verdict is Verdict.HOLDS


@pytest.mark.parametrize(("ignored", "verdict"), [(0, Verdict.HOLDS), (-100, Verdict.BROKEN)])
def test_t5_a_declared_padding_must_be_ignored_without_a_loader_too(ignored, verdict):
    def loss(logits, targets):
        kept = targets != ignored
        return F.cross_entropy(logits[kept], targets[kept].clamp(min=0))

    counted_all = lambda logits, targets: F.cross_entropy(logits.mT, targets.clamp(min=0))  # noqa: E731
    function = loss if verdict is Verdict.HOLDS else counted_all
    assert judged("loss/ignores-padding", Small(), loss=function, claims={"pad_id": 0}).verdict is verdict


def test_where_nothing_is_padding_the_law_says_so():
    result = judged("loss/ignores-padding", Small(), loss=F.cross_entropy, loader=shifted())
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert "no padding" in result.reason


def test_trained_weights_are_not_judged_as_new_ones():
    model, loader = Small(), [(x, x) for x, _ in shifted()]
    with torch.no_grad():
        model.head.weight.copy_(20 * torch.tanh(model.table.weight))
    result = judged("loss/initial", model, loss=F.cross_entropy, loader=loader)
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert "trained" in result.reason


@pytest.mark.parametrize("seed", range(5))
def test_large_first_weights_are_not_taken_for_trained_ones(seed):
    """Where logits are large, one text always does better than another, by chance."""
    model = Small()
    with torch.no_grad():
        model.head.weight.normal_(std=4.0, generator=torch.Generator().manual_seed(seed))
    assert judged("loss/initial", model, loss=F.cross_entropy, loader=shifted()).verdict is Verdict.ADVICE


def test_without_a_loss_the_laws_say_what_to_supply():
    results = check(Small(), only=["loss"], vocab_size=V).results
    assert {r.verdict for r in results} == {Verdict.NOT_CHECKED}


def loss_in_parts(model, batch):
    hidden = torch.tanh(model.table(batch[0]))
    return F.cross_entropy(model.head(hidden).flatten(0, 1), batch[1].flatten())


def by_hand(model, batch):
    logits = model.head(torch.tanh(model.table(batch[0])))
    return (logits.exp().sum(-1).log() - logits.gather(-1, batch[1][..., None])[..., 0]).mean()


def in_two_uses(model, batch):
    logits = model.head(torch.tanh(model.table(batch[0])))
    return (logits.logsumexp(-1) - logits.gather(-1, batch[1][..., None])[..., 0]).mean()


def in_two_uses_reversed(model, batch):
    logits = model.head(torch.tanh(model.table(batch[0])))
    right = logits.gather(-1, batch[1][..., None])[..., 0]
    return (logits.logsumexp(-1) - right).mean()


@pytest.mark.parametrize("loss", [loss_in_parts, by_hand, in_two_uses, in_two_uses_reversed])
def test_a_loss_that_runs_parts_of_the_model_is_judged_as_far_as_can_be_seen(loss):
    report = check(Small(), only=["loss"], vocab_size=V, max_len=T, loss=loss, loader=shifted())
    verdicts = {r.law.id: r.verdict for r in report.results}
    assert not report.broken
    assert verdicts["loss/cross-entropy"] is verdicts["loss/shift"] is Verdict.HOLDS
    seen = loss in (loss_in_parts, in_two_uses)  # the others read their logits where nobody looks
    assert verdicts["loss/gradient"] is (Verdict.HOLDS if seen else Verdict.NOT_APPLICABLE)
    wrong = judged("loss/positive", Small(), loss=lambda model, b: -loss(model, b), loader=shifted())
    assert wrong.verdict is Verdict.BROKEN


def test_a_wrong_gradient_is_seen_in_a_loss_that_runs_parts_of_the_model():
    def half(model, batch):
        logits = model.head(torch.tanh(model.table(batch[0])))
        logs = F.log_softmax(logits, -1)
        return F.nll_loss(((logs + logs.detach()) / 2).flatten(0, 1), batch[1].flatten())

    assert judged("loss/gradient", Small(), loss=half, loader=shifted()).verdict is Verdict.BROKEN


class Packed(nn.Module):
    """One attention that sees its own document only."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(V, 24), nn.Linear(24, V)

    def forward(self, ids, document_ids=None):
        x = self.table(ids)
        seen = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        if document_ids is not None:
            seen = seen & (document_ids[:, :, None] == document_ids[:, None, :])
        return self.head(torch.softmax((x @ x.mT / 24).masked_fill(~seen, -torch.inf), -1) @ x)


def packed():
    """Rows of two or three documents, told apart by their numbers."""
    numbers = torch.tensor([[0] * 5 + [1] * 6 + [2] * 5, [0] * 9 + [1] * 7] * 2)
    return [{"ids": x, "targets": y, "document_ids": numbers} for x, y in shifted()]


def numbered_loss(model, batch):
    logits = model(batch["ids"], batch["document_ids"])
    return F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten())


def forgetful_loss(model, batch):
    return F.cross_entropy(model(batch["ids"]).flatten(0, 1), batch["targets"].flatten())


def test_a_loss_that_forgets_the_documents_numbers_is_seen():
    law = "loss/documents-apart"
    assert judged(law, Packed(), loss=numbered_loss, loader=packed()).verdict is Verdict.HOLDS
    result = judged(law, Packed(), loss=forgetful_loss, loader=packed())
    assert result.verdict is Verdict.BROKEN
    assert judged(law, Small(), loss=F.cross_entropy, loader=shifted()).verdict is Verdict.NOT_APPLICABLE


EOS = 3


def filled_up(marked):
    """A last row that is half a text; what fills it up is marked as no target, or is not."""
    x, y = (part[:2].clone() for part in shifted()[0])
    x[1, 7:] = EOS
    y[1, 6:] = -100 if marked else EOS
    return [(x, y)]


def test_t5_what_fills_up_the_last_row_of_the_validation_is_no_target():
    parts = {"loss": F.cross_entropy, "loader": shifted(), "claims": {"eos_id": EOS}}
    law = "loss/ignores-padding"
    assert judged(law, Small(), val_loader=filled_up(True), **parts).verdict is Verdict.HOLDS
    result = judged(law, Small(), val_loader=filled_up(False), **parts)
    assert result.verdict is Verdict.BROKEN
    assert "val_loader" in result.evidence.where
    ignoring = parts | {"loss": nn.CrossEntropyLoss(ignore_index=EOS)}  # whatever fills up, it is not learned
    assert judged(law, Small(), val_loader=filled_up(False), **ignoring).verdict is Verdict.HOLDS
