"""Blocks: residuals, gradients and scales through the depth.

Gradients are in `block_gradients.py`, dropout and modes in `block_modes.py`, the feed-forward layer in
`block_feed_forward.py`. Shapes: B rows, T
tokens, D the width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trueformer.laws import block_feed_forward as block_feed_forward
from trueformer.laws import block_gradients as block_gradients
from trueformer.laws import block_modes as block_modes
from trueformer.laws.block_gradients import backward
from trueformer.laws.block_parts import (
    Passage,
    blocks,
    groups,
    passages,
    replayed,
    scratch,
    short_ids,
    sublayers,
    weights,
    zeroed,
)
from trueformer.laws.law import Evidence, law
from trueformer.subject.attentions import Attention
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

RESIDUAL = "He et al. 2016, arXiv:1512.03385, §3.1; Vaswani et al. 2017, arXiv:1706.03762, §3.1"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Zeroed:
    """A block whose matrices are zero: what went through it, and what comes out where attention alone has its own."""

    path: str
    passage: Passage
    attending: Tensor

    @property
    def carried(self) -> float:
        """How far tokens still differ in its output, relative to its input."""
        return _spread(self.passage.gave) / max(float(self.passage.given.abs().max()), 1e-30)

    @property
    def added(self) -> float:
        """How far attention alone moves its output, relative to its input."""
        moved = (self.attending - self.passage.gave).abs().max()
        return float(moved / self.passage.given.abs().max().clamp(min=1e-30))


def _spread(x_BTD: Tensor) -> float:
    return float((x_BTD - x_BTD[:, :1]).abs().max())


def zeroed_blocks(subject: Subject) -> list[Zeroed]:
    """Each block with its matrices and their biases at zero, one at a time.

    Raises:
        NotApplicable: what comes out is not finite.
    """
    found = subject.once("block_zeroed_blocks", lambda: _zeroed_blocks(subject))
    if any(not torch.isfinite(each.passage.gave).all() for each in found):
        raise NotApplicable("a block without weights gives NaN: see the laws of norm")
    return found


def _zeroed_blocks(subject: Subject) -> list[Zeroed]:
    model = scratch(subject)

    def again(path: str, passage: Passage, call: Callable[[Tensor], Tensor]) -> Zeroed:
        given = passage.given.clone()
        with zeroed(weights(model.get_submodule(path))):
            bare = call(given)
        with zeroed(_all_but_attention(subject, path)):
            attending = call(given)
        return Zeroed(path=path, passage=Passage(given=given, gave=bare), attending=attending)

    found = replayed(subject, blocks(subject), again)
    return [each for each in found.values() if each is not None]


def _all_but_attention(subject: Subject, path: str) -> list[nn.Parameter]:
    """The weights of a block's other layers; none where attention has no layer of its own, or is alone."""
    model = scratch(subject)
    parts, paths = sublayers(model, path), [f"{attention.path}." for attention in attentions_or_none(subject)]
    attending = [part for part in parts if any(p.startswith(f"{part}.") for p in paths)]
    others = [part for part in parts if part not in attending]
    return [p for part in others for p in weights(model.get_submodule(part))] if attending else []


def attentions_or_none(subject: Subject) -> list[Attention]:
    """The attentions that were seen, if any."""
    try:
        return subject.attentions
    except NotApplicable:
        return []


@law(
    "block/residual",
    statement="What a block gets goes on around each of its layers.",
    source=RESIDUAL,
    looks="Sets a block's matrices to zero: with a residual around each layer, its tokens still differ in its output.",
    tolerance="1e-6: without a residual every token comes out the same, to the last bit.",
    symptoms="Gradients vanish with depth; a deep model learns no more than a shallow one.",
    causes="`x = f(norm(x))` where `x = x + f(norm(x))` is meant, around attention or the feed-forward layer.",
    needs=("logits",),
)
def residual(subject: Subject) -> Evidence:
    """A layer without weights adds nothing: `x + 0 = x`. Where the residual is missing, nothing is left of x.

    After `x = x + attention(norm(x)); x = feed_forward(norm(x))` all tokens are zero.
    """
    least = min(zeroed_blocks(subject), key=lambda each: each.carried)
    broken = least.carried < 1e-6
    where = _missing(subject, least.path) if broken else least.path
    return Evidence(
        measured=least.carried,
        bound=1e-6,
        at_least=True,
        where=where,
        saw="nothing of the block's input is left behind this layer once it adds nothing" if broken else "",
    )


def _missing(subject: Subject, path: str) -> str:
    """The layer of the block that keeps nothing of the input when its own matrices are zero."""
    model, ids = scratch(subject), short_ids(subject)
    for part in sublayers(model, path):
        with zeroed(weights(model.get_submodule(part))), passages(model, [path]) as seen:
            subject.logits(ids, model)
        if _spread(seen[path][-1].gave) < 1e-6 * float(seen[path][-1].given.abs().max()):
            return part
    return path


@law(
    "block/stream-kept",
    statement="Around its layers a block hands the stream on as it is.",
    source=RESIDUAL,
    looks="Sets a block's matrices to zero: where its output is its input times a number, that number is in (0, 1].",
    tolerance="1e-5: x comes out of x + 0 to the last bit; some scale it down by a constant, nobody up.",
    symptoms="Activations grow by a constant factor with every layer; NaN in deep models.",
    causes="The stream is added twice (`x = x + x + f(x)`), or a sign is wrong.",
    needs=("logits",),
)
def stream_kept(subject: Subject) -> Evidence:
    """Doubled in each of 24 blocks the stream is 16 million times as large at the end, and their work is not seen."""
    factors = {each.path: _factor(each.passage) for each in zeroed_blocks(subject)}
    known = {path: factor for path, factor in factors.items() if factor is not None}
    known = {path: f for path, f in known.items() if 0 < f <= 1 + 1e-5 or not _learnt(subject, path, f)}
    if not known:
        raise NotApplicable(
            "no block hands its input on times a fixed number: they norm it, or learn the number"
        )
    off = {path: max(factor - 1, -factor, 0.0) for path, factor in known.items()}
    path = max(off, key=lambda path: off[path])
    saw = f"the stream leaves the block times {known[path]:.3g}" if off[path] > 1e-5 else ""
    return Evidence(measured=off[path], bound=1e-5, where=path, saw=saw)


def _factor(passage: Passage) -> float | None:
    """The number between what was given and what came out, if there is one for all channels."""
    given, gave = passage.given.double(), passage.gave.double()
    factor = float((given * gave).sum() / given.square().sum().clamp(min=1e-300))
    rest = (gave - factor * given).abs().max()
    return factor if rest <= 1e-5 * gave.abs().max() and gave.any() else None


def _learnt(subject: Subject, path: str, factor: float) -> bool:
    """Whether the number changes with vectors of the block, as weights of a residual that are learnt do."""
    model = scratch(subject)
    module = model.get_submodule(path)
    with zeroed(list(module.parameters())), passages(model, [path]) as seen:
        subject.logits(short_ids(subject), model)
    return _factor(seen[path][-1]) != factor


@law(
    "block/layers-add",
    statement="Attention adds to the stream itself, not only through the feed-forward layer.",
    source=RESIDUAL,
    looks="Sets all of a block to zero but its attention, and looks whether the output differs from a block of zeros.",
    tolerance="1e-9: without attention the outputs are equal to the last bit.",
    symptoms="The model learns slowly; what attention finds reaches later blocks in a squeezed form only.",
    causes="`x + feed_forward(norm(attention(norm(x))))`: one residual around two layers.",
    needs=("logits",),
)
def layers_add(subject: Subject) -> Evidence:
    """With one residual around both, a feed-forward layer that adds nothing also silences the attention before it."""
    added = {
        each.path: each.added for each in zeroed_blocks(subject) if _all_but_attention(subject, each.path)
    }
    if not added:
        raise NotApplicable("no block was seen with its attention in a part of its own")
    path = min(added, key=lambda path: added[path])
    saw = "without the feed-forward layer, attention changes nothing" if added[path] < 1e-9 else ""
    return Evidence(measured=added[path], bound=1e-9, at_least=True, where=path, saw=saw)


@law(
    "block/used",
    statement="Every block changes the logits.",
    source="A layer that does nothing is not meant",
    looks="Goes back from the cross-entropy and looks for blocks without a gradient, and for blocks that never ran.",
    tolerance="1e-30: the gradient of an unused block is exactly 0.",
    symptoms="A model of 12 layers is as good as one of 11, and has parameters that never move.",
    causes="A loop over the wrong range; one block called for all; a result that is thrown away.",
    needs=("logits",),
)
def used(subject: Subject) -> Evidence:
    """`for i in range(1, n): x = self.blocks[i](x)` leaves the first out; `h = block(x)` leaves out all but the last."""
    idle = [path for group in groups(subject) for path in group if path not in subject.passed.outputs]
    if idle:
        saw = "the block never ran"
        return Evidence(measured=0.0, bound=1e-30, at_least=True, where=idle[0], saw=saw)
    reached = backward(subject).reached
    largest = {
        path: max(
            (r.largest or 0.0 for name, r in reached.items() if name.startswith(f"{path}.")), default=None
        )
        for path in blocks(subject)
    }
    moved = {path: value for path, value in largest.items() if value is not None}
    if not moved:
        raise NotApplicable("all blocks are frozen")
    path = min(moved, key=lambda path: moved[path])
    saw = "the logits do not depend on the block's weights" if moved[path] < 1e-30 else ""
    return Evidence(measured=moved[path], bound=1e-30, at_least=True, where=path, saw=saw)


@law(
    "block/order",
    statement="Blocks run in the order in which they stand.",
    source="Weights carry the number of their layer; every format of checkpoints relies on it",
    looks="Notes the order in which the blocks of a list are called.",
    tolerance="0 blocks out of their order.",
    symptoms="Training works; weights from elsewhere, or for elsewhere, give nonsense.",
    causes="`reversed(self.blocks)`; a loop that appends at the front; keys sorted as text, 10 before 2.",
    needs=("logits",),
)
def order(subject: Subject) -> Evidence:
    """Sorted as text the layers are 0, 1, 10, 11, 2: a model that trains, and a checkpoint that fits nobody else."""
    ran = list(subject.passed.outputs)
    out_of_order, where = 0, ""
    for group in groups(subject):
        called = [path for path in group if len(subject.passed.outputs.get(path, [])) == 1]
        times = [ran.index(path) for path in called]
        wrong = [path for path, a, b in zip(called[1:], times, times[1:], strict=False) if b < a]
        out_of_order += len(wrong)
        where = where or (wrong[0] if wrong else "")
    saw = "the block runs before the one that stands before it" if out_of_order else ""
    return Evidence(measured=out_of_order, bound=0, unit="blocks", where=where, saw=saw)
