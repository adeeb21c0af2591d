"""Stress: laws that take minutes. A model is trained for a moment, as a copy.

Shapes: B rows, T tokens, V vocabulary.
"""

import inspect
import math
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trueformer.laws.block_parts import blocks, passages
from trueformer.laws.law import Evidence, Figure, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.kept import random_numbers_kept
from trueformer.subject.subject import Subject

SECONDS = 40.0  # for one law; the runner stops a law after 60
FEW = 16  # ids that the texts of a task are made of
DEPTHS = ("depth", "n_layers", "n_layer", "num_layers", "num_hidden_layers", "layers")
WIDTHS = ("width", "d_model", "n_embd", "dim", "hidden_size", "embed_dim")
Batch = tuple[Tensor, Tensor]


def trained(
    subject: Subject,
    model: nn.Module,
    batches: Iterator[Batch],
    *,
    rate: float,
    steps: int,
    goal: float = 0.0,
) -> list[float]:
    """The losses of so many steps of Adam in float32, without dropout; it stops once `goal` is reached.

    Raises:
        NotApplicable: nothing can be trained, or this machine is too slow.
    """
    parameters = [p for p in model.float().eval().parameters() if p.requires_grad]
    if not parameters:
        raise NotApplicable("no parameter is trainable")
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.95))
    losses: list[float] = []
    end = time.monotonic() + SECONDS / 2
    with random_numbers_kept(), torch.enable_grad():
        while len(losses) < steps and (not losses or losses[-1] > goal):
            ids, targets = next(batches)
            logits = subject.interface.call(model, ids, _targets(subject, ids)).logits
            loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-100)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
            if time.monotonic() > end and len(losses) < steps:
                raise NotApplicable(
                    f"this machine makes {len(losses)} of {steps} steps in {SECONDS / 2:.0f} s"
                )
    return losses


def _targets(subject: Subject, ids_BT: Tensor) -> Tensor | None:
    return ids_BT if subject.interface.needs_targets else None


def best(losses: Callable[[float], list[float]]) -> list[float]:
    """The losses at the first of two learning rates, or at the second where they end lower."""
    runs = [losses(rate) for rate in (3e-3, 5e-4)]
    return min(runs, key=lambda run: run[-1] if math.isfinite(run[-1]) else math.inf)


def curve(losses: list[float]) -> Figure:
    """The losses by step."""
    return Figure(kind="lines", title="loss", x_label="step", y_label="nats", lines={"loss": tuple(losses)})


@law(
    "stress/overfits",
    statement="The model learns one batch by heart.",
    source="Karpathy 2019, A Recipe for Training Neural Networks",
    looks="Trains a copy on four random texts, at two learning rates, for at most 200 steps of Adam.",
    tolerance="A tenth of the first loss: sound models are there in 20 to 100 steps.",
    symptoms="The loss stays on a plateau however long it trains.",
    causes="Gradients that do not flow, a head that is cut off, parameters that are frozen, a wrong scale.",
    needs=("logits",),
    deep=True,
)
def overfits(subject: Subject) -> Evidence:
    """64 tokens are nothing for any model with more parameters than that. Where it fails, something does not learn."""
    ids = subject.ids(4, min(16, subject.length))
    batch = (ids, torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], -100)], 1).long())

    def losses(rate: float) -> list[float]:
        same = iter(lambda: batch, None)
        return trained(subject, subject.copied(), same, rate=rate, steps=200, goal=0.05 * math.log(FEW))

    found = best(losses)
    share = found[-1] / max(found[0], 1e-30)
    saw = (
        f"after {len(found)} steps the loss is {found[-1]:.2f}, from {found[0]:.2f}"
        if not share <= 0.1
        else ""
    )
    return Evidence(measured=share, bound=0.1, where="the training loss", saw=saw, figure=curve(found))


@law(
    "stress/copies",
    statement="The model learns to copy an earlier token through attention.",
    source="Olsson et al. 2022, arXiv:2209.11895: heads that look back",
    looks="Trains a copy, at two learning rates, to give the token two places back, in texts that never come again.",
    tolerance="Half of the first loss in 300 steps: without attention it cannot fall below ln 16.",
    symptoms="The model learns which tokens are frequent and nothing of the text.",
    causes="Attention that sees itself only, or nothing; positions that are missing; heads joined wrongly.",
    needs=("logits",),
    deep=True,
)
def copies(subject: Subject) -> Evidence:
    """Random tokens cannot be guessed: only what stands two places back tells, and only attention brings it here."""
    usual = subject.usual_ids[:FEW]
    generator = torch.Generator().manual_seed(0)

    def texts() -> Iterator[Batch]:
        while True:
            picks = torch.randint(len(usual), (16, min(16, subject.length)), generator=generator)
            ids = usual[picks].to(subject.ids().device)
            yield ids, torch.cat([torch.full_like(ids[:, :2], -100), ids[:, :-2]], 1).long()

    def losses(rate: float) -> list[float]:
        goal = 0.3 * math.log(len(usual))
        return trained(subject, subject.copied(), texts(), rate=rate, steps=300, goal=goal)

    found = best(losses)
    share = found[-1] / math.log(len(usual))
    saw = (
        f"after {len(found)} steps the loss is {found[-1]:.2f}, ln {len(usual)} is guessing"
        if not share <= 0.5
        else ""
    )
    return Evidence(measured=share, bound=0.5, where="the training loss", saw=saw, figure=curve(found))


def _built(subject: Subject, names: tuple[str, ...]) -> Callable[[int], nn.Module]:
    """Builds the model with another value of the one parameter of `build` that has such a name.

    Raises:
        NotApplicable: `build` takes none.
    """
    assert subject.build is not None
    build = subject.build
    taken = inspect.signature(build).parameters
    name = next((name for name in names if name in taken), None)
    if name is None:
        raise NotApplicable(
            f"build takes none of {', '.join(names[:3])}: it would have to, to be built in two sizes"
        )

    def make(value: int) -> nn.Module:
        with random_numbers_kept():
            torch.manual_seed(0)
            return build(**{name: value})

    return make


def _repeated(subject: Subject) -> Iterator[Batch]:
    ids = subject.ids(4, min(16, subject.length))
    batch = (ids, torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], -100)], 1).long())
    while True:
        yield batch


@law(
    "stress/depth",
    statement="A model of 24 blocks learns as one of two does.",
    source="Xiong et al. 2020, arXiv:2002.04745; He et al. 2016, arXiv:1512.03385",
    looks="Builds the model 2 and 24 blocks deep and trains both on one batch for 100 steps of Adam.",
    tolerance="A loss at most twice the shallow one's, or 0.3 ln V: deep sound models overfit faster.",
    symptoms="Depth costs time and brings nothing.",
    causes="A missing residual; an initialisation that grows with depth; post-norm without warmup.",
    needs=("logits", "build"),
    deep=True,
)
def depth(subject: Subject) -> Evidence:
    """Without residuals two blocks still learn. Of 24, the first see no gradient and the last no signal."""
    make = _built(subject, DEPTHS)
    ends = {}
    for n_blocks in (2, 24):
        found = trained(subject, make(n_blocks), _repeated(subject), rate=1e-3, steps=100)
        ends[n_blocks] = found[-1] if math.isfinite(found[-1]) else math.inf
    most = max(2 * ends[2], 0.3 * math.log(subject.vocab_size or 2))
    saw = f"the loss ends at {ends[24]:.2f}, with 2 blocks at {ends[2]:.2f}" if not ends[24] <= most else ""
    return Evidence(measured=ends[24], bound=most, unit="nats", where="24 blocks", saw=saw)


@law(
    "stress/width",
    statement="A step moves activations as far in a wide model as in a narrow one.",
    source="Yang et al. 2022, arXiv:2203.03466, App. D.1: coordinate check",
    looks="Builds the model at widths 64 and 256, makes four steps of Adam, and compares how far the last block's "
    "output moved.",
    tolerance="A factor of 3 for four times the width. Standard parametrisation may exceed it: this is advice.",
    symptoms="A learning rate tuned on a small model is too large for a large one.",
    causes="Learning rates and initial scales that do not follow the width (no muP).",
    needs=("logits", "build"),
    deep=True,
    advice=True,
)
def width(subject: Subject) -> Evidence:
    """Adam moves each weight by the same amount; a sum over four times as many moves four times as far."""
    make = _built(subject, WIDTHS)
    narrow, wide = (_step_moves(subject, make(d_model)) for d_model in (64, 256))
    ratio = max(wide / max(narrow, 1e-30), narrow / max(wide, 1e-30))
    saw = "the wider model's activations move otherwise in one step" if not ratio <= 3 else ""
    return Evidence(measured=ratio, bound=3.0, where=blocks(subject)[-1], saw=saw)


def _step_moves(subject: Subject, model: nn.Module) -> float:
    """The root mean square of the change of the last block's output in four steps."""
    last, ids = blocks(subject)[-1], subject.ids(4, min(16, subject.length))
    with passages(model, [last]) as seen:
        subject.logits(ids, model.float().eval())
        trained(subject, model, _repeated(subject), rate=1e-3, steps=4)
        subject.logits(ids, model)
    moved = seen[last][-1].gave - seen[last][0].gave
    return float(moved.detach().square().mean().sqrt())
