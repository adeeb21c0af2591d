"""Blocks: what one pass back shows of every parameter, and of the scales of activations and gradients by depth.

Shapes: B rows, T tokens, D the width, V vocabulary.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trueformer.laws.block_parts import blocks, groups, passages
from trueformer.laws.law import Evidence, Figure, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.kept import random_numbers_kept
from trueformer.subject.subject import Subject

MOST = 1e3  # between the largest and the smallest scale of any two blocks


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """One parameter: the largest number in its gradient (None where there is no gradient), and idle rows and columns."""

    largest: float | None
    idle: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Backward:
    """What a pass back showed: each parameter, the modules that ran, and the scales of each block's output."""

    reached: dict[str, Reached]
    ran: frozenset[str]
    activations: dict[str, float]
    gradients: dict[str, float]


def backward(subject: Subject) -> Backward:
    """One pass back of the cross-entropy of random targets, through a copy of `exact`."""
    return subject.once("block_gradients_backward", lambda: _backward(subject))


def _backward(subject: Subject) -> Backward:
    model = copy.deepcopy(subject.exact)
    ids, targets = subject.ids(2), subject.ids(2, seed=1)
    modules = dict(model.named_modules())
    ran: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda *_, path=path: ran.add(path)) for path, module in modules.items()
    ]
    paths = _blocks_or_none(subject)
    with random_numbers_kept(), torch.enable_grad(), passages(model, paths) as seen:
        logits = subject.interface.call(model, ids).logits
        outputs = {path: seen[path][-1].gave for path in paths if path in seen}
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        wanted = [*named.values(), *outputs.values()]
        grads = torch.autograd.grad(loss, wanted, allow_unused=True)
    for hook in hooks:
        hook.remove()
    of_outputs = dict(zip(outputs, grads[len(named) :], strict=True))
    return Backward(
        reached={name: _reached(grad) for name, grad in zip(named, grads, strict=False)},
        ran=frozenset(ran),
        activations={path: _scale(output) for path, output in outputs.items()},
        gradients={path: _scale(grad) for path, grad in of_outputs.items() if grad is not None},
    )


def _blocks_or_none(subject: Subject) -> list[str]:
    try:
        return blocks(subject)
    except NotApplicable:
        return []


def _reached(grad: Tensor | None) -> Reached:
    if grad is None:
        return Reached(largest=None, idle=0)
    idle = 0
    if grad.ndim == 2:
        idle = int((~grad.any(0)).sum() + (~grad.any(1)).sum())
    return Reached(largest=float(grad.abs().max()) if grad.numel() else 0.0, idle=idle)


def _scale(x_BTD: Tensor) -> float:
    """The root mean square of a token in the middle: single ones are huge in trained models."""
    return float(x_BTD.detach().square().mean(-1).sqrt().median())


@law(
    "block/gradient-reaches",
    statement="Every trainable parameter gets a gradient.",
    source="What gets no gradient does not learn",
    looks="Goes back once from the cross-entropy, with no matrix left at zero, and looks at each parameter.",
    tolerance="0 parameters without a gradient, or matrices whose gradient is exactly zero.",
    symptoms="The loss falls, but less than it should; some weights are what they were at the start.",
    causes="A layer that is built and never called; `detach()`, `.data`, `.item()` or `no_grad` in the forward pass.",
    needs=("logits",),
)
def gradient_reaches(subject: Subject) -> Evidence:
    """`x + self.mlp(x.detach())` trains the layer and not what is below; `with torch.no_grad(): h = self.mlp(x)` neither.

    Experts that a router did not choose are left out.
    """
    seen = backward(subject)
    dead = [
        name
        for name, parameter in subject.exact.named_parameters()
        if name in seen.reached
        and _is_dead(seen.reached[name], parameter)
        and not _unchosen(seen, name, subject)
    ]
    names = ", ".join(dead[:3]) + (f" and {len(dead) - 3} more" if len(dead) > 3 else "")
    return Evidence(
        measured=len(dead),
        bound=0,
        unit="parameters",
        where=names,
        saw="the loss does not depend on these, as the gradient sees it" if dead else "",
    )


def _is_dead(reached: Reached, parameter: nn.Parameter) -> bool:
    return reached.largest is None or (parameter.ndim > 1 and reached.largest == 0.0)


def _unchosen(seen: Backward, name: str, subject: Subject) -> bool:
    """Whether it belongs to an expert that did not run while another did."""
    own = {path for group in _groups_or_none(subject) for path in group}
    parts = name.split(".")
    for depth in range(1, len(parts)):
        path, parent = ".".join(parts[:depth]), ".".join(parts[: depth - 1])
        if path in seen.ran or path in own:
            continue
        listed = subject.exact.get_submodule(parent)
        if isinstance(listed, nn.ModuleList | nn.ModuleDict):
            names = (".".join([*parts[: depth - 1], name]) for name, _ in listed.named_children())
            return any(name in seen.ran for name in names)
    return False


def _groups_or_none(subject: Subject) -> list[list[str]]:
    try:
        return groups(subject)
    except NotApplicable:
        return []


@law(
    "block/no-idle-rows",
    statement="Every row and column of attention's matrices learns.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.2.2: h · d_v = d_model",
    looks="Goes back once from the cross-entropy and counts rows and columns whose gradient is exactly zero.",
    tolerance="0 rows and columns: each channel of a head meets every token.",
    symptoms="A little worse than it should be, at full cost: some channels do nothing.",
    causes="A width that the number of heads does not divide, cut down in silence; an odd width of heads under RoPE.",
    needs=("logits",),
)
def no_idle_rows(subject: Subject) -> Evidence:
    """50 channels among 4 heads are 12 each: channels 48 and 49 are made, cut off, and never learn."""
    seen = backward(subject)
    prefixes = tuple({f"{attention.path}." for attention in subject.attentions if attention.path})
    inside = tuple(f"{path}." for path in blocks(subject))
    embeddings = {p for p, m in subject.exact.named_modules() if isinstance(m, nn.Embedding)}
    idle = {
        name: reached.idle
        for name, reached in seen.reached.items()
        if name.startswith(prefixes) and name.startswith(inside) and name.rpartition(".")[0] not in embeddings
        if reached.largest
    }
    if not idle:
        raise NotApplicable("no attention was seen in a module with matrices of its own")
    name = max(idle, key=lambda name: idle[name])
    return Evidence(
        measured=idle[name],
        bound=0,
        unit="rows and columns",
        where=name,
        saw="channels of this matrix never get a gradient" if idle[name] else "",
    )


def _ratio(scales: dict[str, float]) -> float:
    if len(scales) < 2:
        raise NotApplicable("scales are compared between blocks, and fewer than two were seen")
    return max(scales.values()) / max(min(scales.values()), 1e-300)


def _by_depth(title: str, scales: dict[str, float]) -> Figure:
    return Figure(
        kind="lines",
        title=title,
        x_label="block",
        y_label="root mean square",
        lines={title: tuple(scales.values())},
        log=True,
    )


@law(
    "block/activation-scale",
    statement="The size of activations stays within a factor of 1000 through the depth.",
    source="He et al. 2015, arXiv:1502.01852, §2.2; Xiong et al. 2020, arXiv:2002.04745",
    looks="Compares the root mean square of a token in the middle behind each block, largest with smallest.",
    tolerance="1000: sound models grow by less than 100 from first to last block, trained ones too.",
    symptoms="NaN in deep models; only the last blocks learn.",
    causes="Weights drawn too large for their width; no norm; a stream that each block doubles.",
    needs=("logits",),
)
def activation_scale(subject: Subject) -> Evidence:
    """Weights of N(0, 1) at width 768 make a layer's output 28 times its input: over 12 layers, 10¹⁷ times."""
    scales = backward(subject).activations
    ratio = _ratio(scales)
    largest = max(scales, key=lambda path: scales[path])
    return Evidence(
        measured=ratio,
        bound=MOST,
        where=largest,
        saw="activations explode or vanish with depth" if not ratio <= MOST else "",
        figure=_by_depth("activations", scales),
    )


@law(
    "block/gradient-scale",
    statement="The size of gradients stays within a factor of 1000 through the depth.",
    source="Glorot and Bengio 2010, PMLR 9:249-256; Xiong et al. 2020, arXiv:2002.04745, §3",
    looks="Goes back once and compares the gradient of a token in the middle behind each block, largest with smallest.",
    tolerance="1000: sound models keep within 10 at the start, whatever their norms' place.",
    symptoms="The first blocks hardly move, or the loss diverges unless the learning rate is tiny.",
    causes="A missing residual; weights drawn too small or too large; saturated attention.",
    needs=("logits",),
)
def gradient_scale(subject: Subject) -> Evidence:
    """A block that passes on a tenth of its gradient leaves 10⁻¹² of it to the first of twelve."""
    scales = backward(subject).gradients
    ratio = _ratio(scales)
    smallest = min(scales, key=lambda path: scales[path])
    return Evidence(
        measured=ratio,
        bound=MOST,
        where=smallest,
        saw="gradients explode or vanish with depth" if not ratio <= MOST else "",
        figure=_by_depth("gradients", scales),
    )
