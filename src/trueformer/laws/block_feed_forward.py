"""Blocks: the feed-forward layer, which treats each token by itself and is not linear.

Shapes: B rows, T tokens, D the width.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from trueformer.laws.block_parts import blocks, passages, scratch, short_ids
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
    spill = {path: value for path in feed_forwards(subject) if (value := _spill(subject, path)) is not None}
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
    bent = {path: value for path in feed_forwards(subject) if (value := _bent(subject, path)) is not None}
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


def _spill(subject: Subject, path: str) -> float | None:
    """How far other tokens of its output move when the middle one of its input changes."""
    middle = short_ids(subject).shape[1] // 2

    def change(x_BTD: Tensor) -> Tensor:
        changed = x_BTD.clone()
        changed[:, middle] = changed[:, middle] * 1.5 + changed[:, middle].abs().max()
        return changed

    usual, changed = (_made(subject, path, f) for f in (torch.clone, change))
    if usual is None or changed is None:
        return None
    moved = (changed - usual).abs().amax((0, 2))
    others = torch.cat([moved[:middle], moved[middle + 1 :]])
    return float(others.max() / moved.max().clamp(min=1e-30))


def _bent(subject: Subject, path: str) -> float | None:
    """How far it is from linear between its usual input, more and less."""
    shifts = (torch.clone, lambda x: x + x.roll(1, -1), lambda x: x - x.roll(1, -1))
    made = [_made(subject, path, shift) for shift in shifts]
    usual, more, less = made
    if usual is None or more is None or less is None:
        return None
    return float((more + less - 2 * usual).abs().max() / (more - usual).abs().max().clamp(min=1e-30))


def _made(subject: Subject, path: str, change: Callable[[Tensor], Tensor]) -> Tensor | None:
    """What a module makes of a changed input, in a pass; None where that is no hidden state."""
    model = scratch(subject)
    handle = model.get_submodule(path).register_forward_pre_hook(
        lambda module, args: (change(args[0]), *args[1:]) if args and isinstance(args[0], Tensor) else None
    )
    try:
        with passages(model, [path]) as seen:
            subject.logits(short_ids(subject), model)
    finally:
        handle.remove()
    return seen[path][0].gave if path in seen else None
