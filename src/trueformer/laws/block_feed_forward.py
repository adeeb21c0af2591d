"""Blocks: the feed-forward layer, which treats each token by itself and is not linear.

Shapes: B rows, T tokens, D the width.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from trueformer.laws.block_parts import Passage, blocks, replayed
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

FEED_FORWARD = ("mlp", "ffn", "feed_forward", "feedforward", "ff", "moe", "block_sparse_moe")


@law(
    "block/feed-forward-per-token",
    statement="The feed-forward layer treats each token by itself.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.3: position-wise",
    looks="Changes one token of what each feed-forward layer gets, and looks how far its other tokens move.",
    tolerance="1e-6 of the largest change: they move by nothing.",
    symptoms="The future leaks past the mask; the loss is too good.",
    causes="A matrix applied along time; a softmax, mean or norm over tokens.",
    needs=("logits",),
)
def per_token(subject: Subject) -> Evidence:
    """`w(x.transpose(1, 2))` mixes tokens in place of channels, and runs whenever T = D."""
    spill = {path: spilt for path, (spilt, _) in measured(subject).items()}
    if not spill:
        raise NotApplicable("no feed-forward layer was seen that turns a hidden state into another")
    path = max(spill, key=lambda path: spill[path])
    saw = "one token changes what the feed-forward layer makes of others" if spill[path] > 1e-6 else ""
    return Evidence(measured=spill[path], bound=1e-6, where=path, saw=saw)


@law(
    "block/feed-forward-bends",
    statement="The feed-forward layer is not linear.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.3: max(0, xW₁ + b₁)W₂ + b₂",
    looks="Compares f(x + d) + f(x - d) with 2·f(x), which are equal for linear f.",
    tolerance="1e-6 of the change: a linear layer leaves rounding, 1e-12; every activation more than 1e-2.",
    symptoms="The model learns a little less than it should: two matrices do the work of one.",
    causes="The activation is missing, or applied to something that is not used.",
    needs=("logits",),
)
def bends(subject: Subject) -> Evidence:
    """W₂(W₁x) = (W₂W₁)x: without the activation the wide layer in the middle is for nothing."""
    bent = {path: bent for path, (_, bent) in measured(subject).items()}
    if not bent:
        raise NotApplicable("no feed-forward layer was seen that turns a hidden state into another")
    path = min(bent, key=lambda path: bent[path])
    saw = "the feed-forward layer is linear" if bent[path] < 1e-6 else ""
    return Evidence(measured=bent[path], bound=1e-6, at_least=True, where=path, saw=saw)


def feed_forwards(subject: Subject) -> list[str]:
    """The modules inside of blocks that are called feed-forward layers and hold no attention.

    Raises:
        NotApplicable: there are none, or the model has no attention, so that other layers may mix tokens.
    """
    attending = [f"{attention.path}." for attention in subject.attentions]
    inside = tuple(f"{block}." for block in blocks(subject))
    paths = [
        path
        for path in subject.passed.outputs
        if path.rsplit(".", 1)[-1].lower() in FEED_FORWARD
        and path.startswith(inside)
        and not any(attention.startswith(f"{path}.") for attention in attending)
    ]
    if not paths:
        raise NotApplicable("no module was seen that is called a feed-forward layer")
    return paths


def measured(subject: Subject) -> dict[str, tuple[float, float]]:
    """For each feed-forward layer: how far other tokens move with one, and how far it is from linear."""
    feed_forwards(subject)
    return subject.once("block_feed_forward_measured", lambda: _measured(subject))


def _measured(subject: Subject) -> dict[str, tuple[float, float]]:
    def again(path: str, passage: Passage, call: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        x, y = passage.given.clone(), passage.gave.clone()
        return _spill(x, y, call), _bent(x, y, call)

    return replayed(subject, feed_forwards(subject), again)


def _spill(x_BTD: Tensor, y_BTD: Tensor, call: Callable[[Tensor], Tensor]) -> float:
    """How far other tokens of the output move when the middle one of the input changes."""
    middle = x_BTD.shape[1] // 2
    changed = x_BTD.clone()
    changed[:, middle] = changed[:, middle] * 1.5 + changed[:, middle].abs().max()
    moved = (call(changed) - y_BTD).abs().amax((0, 2))
    others = torch.cat([moved[:middle], moved[middle + 1 :]])
    return float(others.max() / moved.max().clamp(min=1e-30))


def _bent(x_BTD: Tensor, y_BTD: Tensor, call: Callable[[Tensor], Tensor]) -> float:
    """How far it is from linear between its usual input, more and less."""
    more, less = call(x_BTD + x_BTD.roll(1, -1)), call(x_BTD - x_BTD.roll(1, -1))
    return float((more + less - 2 * y_BTD).abs().max() / (more - y_BTD).abs().max().clamp(min=1e-30))
