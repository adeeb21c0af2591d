"""Normalisation: computed in float32, whatever the model is in."""

import copy
import math

import torch

from trueformer.laws.law import Evidence, law
from trueformer.laws.norm_modules import Norm, is_named, worst
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject, dtype_of

HALF = (torch.bfloat16, torch.float16)


def rounding_inside(norm: Norm) -> float:
    """How far a bfloat16 norm's factor varies from row to row, against the same norm in float32.

    Rows are c · u, with c and u of so few bits that bfloat16 holds the product. Their exact norm is that of u
    for each c, so rounding the result alone gives every row the same factor. Squares, means or roots that are rounded
    give each c another.
    """
    half = norm.copied(torch.bfloat16)
    whole = copy.deepcopy(half).float()
    channel = torch.arange(norm.shape[-1])
    u = (1 - 2 * (channel % 2)) * (1 + (channel // 2 % 4) / 4)
    row = torch.arange(math.prod(norm.shape[:-1])).reshape(*norm.shape[:-1], 1)
    x = (64 * (1 + row % 16 / 16) * u).bfloat16()
    with torch.no_grad():
        got, exact = half(x).double(), whole(x.float()).double()
    factor = (got * exact).sum(-1) / exact.square().sum(-1)
    return float(factor.std())


def _rounding(subject: Subject) -> Evidence:
    off, path = worst(subject, lambda norm: rounding_inside(norm) if is_named(norm.module) else None)
    saw = "the size of a row is rounded to bfloat16" if off > 2**-12 else ""
    return Evidence(measured=off, bound=2**-12, where=path, saw=saw)


FLOAT32 = {
    "source": "Micikevicius et al. 2018, arXiv:1710.03740, §3.3: reductions are computed in float32",
    "looks": "Compares each norm in bfloat16 with float32 on multiples of one row, whose exact norms are equal.",
    "tolerance": "2⁻¹²: rounding the result alone gives 0, rounding the mean square 7e-4 and more.",
    "symptoms": "A loss a little higher in half precision, more so in wide and deep models.",
    "causes": "No `.float()` before the square, or one that comes after it.",
    "needs": ("logits",),
}


@law("norm/float32-inside", statement="In a half precision model a norm is computed in float32.", **FLOAT32)
def float32_inside(subject: Subject) -> Evidence:
    """c = 1.51: c² = 2.28 rounds to 2.28125 in bfloat16, its inverse root again; every channel gets that error."""
    if dtype_of(subject.model) not in HALF:
        raise NotApplicable("the model is not in half precision; norm/half-ready looks ahead")
    return _rounding(subject)


@law(
    "norm/half-ready",
    statement="A norm would be computed in float32 were the model in half precision.",
    advice=True,
    **FLOAT32,
)
def half_ready(subject: Subject) -> Evidence:
    """In float32 nothing is wrong. After `model.bfloat16()` the mean square would have three digits."""
    if dtype_of(subject.model) in HALF:
        raise NotApplicable("the model is in half precision; norm/float32-inside judges it")
    return _rounding(subject)
