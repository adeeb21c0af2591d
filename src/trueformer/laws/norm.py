"""Normalisation: finite, in float32, with its epsilon where it belongs.

What half precision asks of a norm is in `norm_half.py`. Shapes: N rows, D the width.
"""

import copy
import math

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueformer.laws import norm_half as norm_half
from trueformer.laws.law import Evidence, law
from trueformer.laws.norm_modules import BIG, BIGGER, Norm, is_named, normed, worst
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject

RMS_NORM = "Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4"
LAYER_NORM = "Ba et al. 2016, arXiv:1607.06450, eq. 4"


def not_finite(y: Tensor) -> float:
    """The share of numbers that are NaN or infinite."""
    return float((~torch.isfinite(y)).double().mean())


def _finite(subject: Subject, inputs: list[tuple[torch.dtype, float]], saw: str) -> Evidence:
    def measure(norm: Norm) -> float:
        with torch.no_grad():
            given = [(norm.copied(dtype), norm.random(size, dtype=dtype)) for dtype, size in inputs]
            return max(not_finite(module(x)) for module, x in given)

    share, path = worst(subject, measure)
    return Evidence(measured=share, bound=0.0, where=path, saw=saw if share else "")


@law(
    "norm/finite-on-zeros",
    statement="A norm of zeros is finite.",
    source=f"{RMS_NORM}, with the epsilon of every implementation",
    looks="Gives each norm zeros in float32 and counts what is NaN or infinite.",
    tolerance="0: zeros over the root of an epsilon are zeros.",
    symptoms="The loss is NaN at once, or after thousands of steps when an activation happens to vanish.",
    causes="No epsilon under the root.",
    needs=("logits",),
)
def finite_on_zeros(subject: Subject) -> Evidence:
    """`x * rsqrt(mean(x²))` is 0 · ∞ = NaN for x = 0: a padding row, a dead layer, a zero-initialised projection.

    With ε = 1e-6 it is 0 · 1000 = 0.
    """
    return _finite(subject, [(torch.float32, 0.0)], "a norm of zeros is not finite")


@law(
    "norm/finite-on-tiny",
    statement="A norm of tiny numbers is finite.",
    source=RMS_NORM,
    looks="Gives each norm numbers of 1e-6, 1e-20 and 1e-30 in float32, whose squares vanish.",
    tolerance="0: each is far below the root of any epsilon, so the result is small.",
    symptoms="NaN that comes and goes; training dies late.",
    causes="No epsilon under the root, or one so small that float32 rounds it to zero.",
    needs=("logits",),
)
def finite_on_tiny(subject: Subject) -> Evidence:
    """In float32 (1e-30)² is 0, so a root without an epsilon divides by zero although no input is zero."""
    sizes = [(torch.float32, 1e-6), (torch.float32, 1e-20), (torch.float32, 1e-30)]
    return _finite(subject, sizes, "a norm of tiny numbers is not finite")


@law(
    "norm/finite-on-huge",
    statement="A norm of huge numbers is finite.",
    source=RMS_NORM,
    looks="Gives each norm numbers of 1e4 in float32 and in bfloat16.",
    tolerance="0: their squares, 1e8, are far from the largest float32 or bfloat16 (3e38).",
    symptoms="NaN when activations have grown, as they do late in training.",
    causes="Squares in float16; an exponential or a fourth power where a square is meant.",
    needs=("logits",),
)
def finite_on_huge(subject: Subject) -> Evidence:
    """Single channels of trained models reach 1e4. A sum of squares holds them in bfloat16; an exponential does not."""
    sizes = [(torch.float32, 1e4), (torch.bfloat16, 1e4)]
    return _finite(subject, sizes, "a norm of huge numbers is not finite")


@law(
    "norm/finite-stream",
    statement="A token whose embedding is zero or tiny gives finite logits.",
    source=RMS_NORM,
    looks="Multiplies every embedding by 0, 1e-30 and 1e4 in float32 and counts logits that are NaN or infinite.",
    tolerance="0: what is normed is either zero, so that only an epsilon stands below, or of size one.",
    symptoms="NaN for padding, whose embedding is zero; NaN at the first step of some initialisations.",
    causes="A norm without an epsilon, written where no module shows it; q and k normed without one.",
    needs=("logits",),
)
def finite_stream(subject: Subject) -> Evidence:
    """A padding row is zero. If q = W·0 = 0 is divided by its own length, one padding token makes its row NaN."""
    model = copy.deepcopy(subject.exact).float()
    rows = [m.weight for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    rows = rows or [p for p in model.parameters() if p.ndim == 2 and len(p) == subject.vocab_size]
    if not rows:
        raise NotApplicable("no table of embeddings was seen")
    before, bad = [row.detach().clone() for row in rows], {}
    for size in (0.0, 1e-30, 1e4):
        with torch.no_grad():
            for row, was in zip(rows, before, strict=True):
                row.copy_(was * size)
        with sdpa_kernel(SDPBackend.MATH):  # fused kernels can turn NaN into zeros
            bad[size] = not_finite(subject.logits(subject.ids(1, min(8, subject.length)), model))
    size = max(bad, key=lambda size: bad[size])
    return Evidence(
        measured=bad[size],
        bound=0.0,
        where=f"embeddings times {size:g}" if bad[size] else "",
        saw="logits are not finite" if bad[size] else "",
    )


@law(
    "norm/finite-gradient",
    statement="The gradient through a norm of zeros is finite.",
    source=LAYER_NORM,
    looks="Sends a random gradient back through each norm of zeros.",
    tolerance="0: the derivative is the weight over the root of epsilon.",
    symptoms="The loss is finite and the next one NaN; one padding token spoils all weights.",
    causes="A root or `std()` without the epsilon inside: its derivative at zero is infinite, and 0 · ∞ is NaN.",
    needs=("logits",),
)
def finite_gradient(subject: Subject) -> Evidence:
    """`(x - mean) / (x.std() + eps)` is finite at zeros; d√v/dv = 1/(2√v) is not, and its product with 0 is NaN."""

    def measure(norm: Norm) -> float:
        module, x = norm.copied(torch.float32), torch.zeros(norm.shape, requires_grad=True)
        with torch.enable_grad():
            y = module(x)
            grads = torch.autograd.grad(y, x, norm.random(dtype=y.dtype), allow_unused=True)
        return 0.0 if grads[0] is None else not_finite(grads[0])

    share, path = worst(subject, measure)
    saw = "the gradient through a norm of zeros is not finite" if share else ""
    return Evidence(measured=share, bound=0.0, where=path, saw=saw)


@law(
    "norm/per-token",
    statement="A norm of one token does not depend on other tokens.",
    source=LAYER_NORM,
    looks="Changes one token of a norm's input, in training mode, and looks how far the others' results move.",
    tolerance="1e-5 of the result: rounding is 1e-7, statistics over tokens move it by more than 1e-3.",
    symptoms="The training loss is too good, evaluation is worse, and one text's answer depends on its neighbours.",
    causes="Statistics over time or the batch: the wrong axis, or a BatchNorm.",
    needs=("logits",),
)
def per_token(subject: Subject) -> Evidence:
    """With `x.mean(dim=1)` of x (B, T, D) the mean of token 0 holds all later ones: the future leaks."""

    def measure(norm: Norm) -> float | None:
        axes = [axis for axis, n in enumerate(norm.shape[:-1]) if n == subject.length and n > 1]
        return min((_spill(norm, axis) for axis in axes), default=None)

    moved, path = worst(subject, measure)
    saw = "one token's norm moves when another changes" if moved > 1e-5 else ""
    return Evidence(measured=moved, bound=1e-5, where=path, saw=saw)


def _spill(norm: Norm, axis: int) -> float:
    """How far the others move when the first along this axis changes."""
    x = norm.random()
    changed = x.clone()
    changed.select(axis, 0).mul_(3.0).add_(1.0)
    with torch.no_grad():
        before, after = norm.copied().train()(x), norm.copied().train()(changed)
    others = (after - before).narrow(axis, 1, x.shape[axis] - 1)
    return float(others.abs().max() / before.abs().max())


@law(
    "norm/scale-invariant",
    statement="A norm does not depend on the size of its input.",
    source=f"{RMS_NORM}: invariance under scaling",
    looks="Gives each norm the same input at sizes 100 and 1000, where no epsilon counts.",
    tolerance="1e-3 of the result: epsilon and float32 leave less than 1e-5.",
    symptoms="Activations grow or shrink through the depth; training is unstable.",
    causes="A missing root: x / mean(x²); dividing by a constant; statistics that were stored.",
    needs=("logits",),
)
def scale_invariant(subject: Subject) -> Evidence:
    """x / √mean(x²) of 10·x is the same. x / mean(x²) is a tenth: it turns large streams into small ones."""

    def measure(norm: Norm) -> float:
        big, bigger = norm(norm.random(BIG)), norm(norm.random(BIGGER))
        return float((big - bigger).abs().max() / big.abs().max().clamp(min=1e-30))

    moved, path = worst(subject, measure)
    saw = "ten times the input gives another result" if moved > 1e-3 else ""
    return Evidence(measured=moved, bound=1e-3, where=path, saw=saw)


@law(
    "norm/unit-size",
    statement="At weight one, what an RMSNorm or LayerNorm gives has a root mean square of one.",
    source=f"{RMS_NORM}; {LAYER_NORM}",
    looks="Takes the difference between weights one and zero, so that w and 1 + w are the same, and measures each row.",
    tolerance="15 %: the sample's variance (n - 1) is legal and off by 7 % at 8 channels; a sum is off by √D.",
    symptoms="Attention and feed-forward layers get input of the wrong size; the learning rate seems wrong.",
    causes="A sum in place of a mean; the root taken twice or never.",
    needs=("logits",),
)
def unit_size(subject: Subject) -> Evidence:
    """x / √Σx² has a length of one, not a root mean square of one: at D = 512 it is 22 times too small."""

    def measure(norm: Norm) -> float | None:
        name = type(norm.module).__name__.lower()
        if not ("rms" in name or "layernorm" in name) or norm.shape[-1] < 8:
            return None
        sizes = normed(norm, norm.random(BIG)).square().mean(-1).sqrt()
        return float((sizes - 1).abs().max())

    off, path = worst(subject, measure)
    saw = "rows do not come out with a root mean square of one" if off > 0.15 else ""
    return Evidence(measured=off, bound=0.15, where=path, saw=saw)


@law(
    "norm/mean",
    statement="A LayerNorm takes the mean away, an RMSNorm leaves it.",
    source=f"{LAYER_NORM}; {RMS_NORM}",
    looks="Adds a constant to the input of each norm whose name, and bias, say which it is.",
    tolerance="1e-2 of the result: a mean that is left shows as about 1.",
    symptoms="Weights from elsewhere give other logits; training is a little worse.",
    causes="The mean is not subtracted, or subtracted for the variance only; an RMSNorm made from a LayerNorm.",
    needs=("logits",),
)
def mean(subject: Subject) -> Evidence:
    """x = (1, 3): LayerNorm gives (-1, 1), RMSNorm (0.45, 1.34). Under another's weights the two do not mix."""

    def measure(norm: Norm) -> float | None:
        if norm.kind == "":
            return None
        x = norm.random(BIG)
        if norm.kind == "layer":
            expected, got = normed(norm, x), normed(norm, x + BIG)
        else:
            raised = x + BIG
            expected = raised / raised.square().mean(-1, keepdim=True).sqrt()
            got = normed(norm, raised)
            got = got * (expected.norm() / got.norm().clamp(min=1e-30))  # sizes are another law's
        return float((got - expected).abs().max() / expected.abs().max().clamp(min=1e-30))

    off, path = worst(subject, measure)
    saw = "a constant added to the input comes out as it should not" if off > 1e-2 else ""
    return Evidence(measured=off, bound=1e-2, where=path, saw=saw)


@law(
    "norm/epsilon-inside",
    statement="The epsilon a norm names is added under the root.",
    source="The definitions of torch.nn.RMSNorm and torch.nn.LayerNorm",
    looks="Gives an input of mean square ε: the result must be 1/√2 of the one for large input.",
    tolerance="0.02: outside the root the share is 0.99 instead of 0.71.",
    symptoms="Weights from elsewhere give other logits for small activations; small ones are blown up a thousandfold.",
    causes="x / (√mean(x²) + ε); an epsilon that is stored and not used.",
    needs=("logits",),
)
def epsilon_inside(subject: Subject) -> Evidence:
    """ε = 1e-6, x of size 1e-3: inside, 1e-3 / √(1e-6 + 1e-6) = 0.71; outside, 1e-3 / (1e-3 + 1e-6) = 0.999."""

    def measure(norm: Norm) -> float | None:
        if norm.eps is None or not is_named(norm.module):
            return None
        large, small = normed(norm, norm.random(BIG)), normed(norm, norm.random(math.sqrt(norm.eps)))
        share = float(small.norm() / large.norm().clamp(min=1e-30))
        return abs(share - math.sqrt(0.5)) if math.isfinite(share) else None

    off, path = worst(subject, measure)
    saw = "the epsilon does not act as one under the root" if off > 0.02 else ""
    return Evidence(measured=off, bound=0.02, where=path, saw=saw)
