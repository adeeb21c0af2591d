"""Precision: float64, float32 and bfloat16 agree, and half precision is where it is meant to be."""

import copy

import torch
from torch import Tensor, nn

from trueformer.laws.block_parts import blocks, in_evaluation, passages, short_ids
from trueformer.laws.law import Evidence, law
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject, dtype_of

HALF = (torch.bfloat16, torch.float16)


@law(
    "precision/float32-agrees",
    statement="Float32 and float64 give the same logits.",
    source="Higham 2002, Accuracy and Stability of Numerical Algorithms, §3.1",
    looks="Compares a copy in float32 with the same copy in float64, by the median token.",
    tolerance="1e-3 of the largest logit: sound models differ by 1e-6, a few times that in deep ones.",
    symptoms="Results differ between machines; small changes of the code change the loss.",
    causes="Differences of large numbers; an exponential without its maximum taken away; half precision on the way.",
    needs=("logits",),
)
def float32_agrees(subject: Subject) -> Evidence:
    """1e8 + 1 - 1e8 is 0 in float32. A softmax that does not subtract the maximum loses its digits the same way."""
    off, where = _disagreement(subject, torch.float32)
    saw = "rounding to float32 changes the logits" if not off <= 1e-3 else ""
    return Evidence(measured=off, bound=1e-3, where=where, saw=saw)


@law(
    "precision/logits-precise",
    statement="Logits that are computed in float32 are not rounded to half precision.",
    source="Wortsman et al. 2023, arXiv:2309.14322, §3: logits are sensitive",
    looks="Looks whether the head's product is in float32 or wider, and all logits are numbers that bfloat16 holds.",
    tolerance="Half of the logits: by chance one in 65536 is such a number.",
    symptoms="The loss is coarse: likely tokens differ by steps of 2⁻⁸; sampling repeats itself.",
    causes="`logits.bfloat16().float()`, which saves nothing where the product is in float32 already.",
    needs=("logits",),
)
def logits_precise(subject: Subject) -> Evidence:
    """Between 16 and 32 bfloat16 has a number every 1/8: two tokens with logits 20.01 and 20.06 become equally likely."""
    products = [event for event in subject.passed.named("mm", "addmm", "bmm", "baddbmm") if event.tainted]
    if not products or products[-1].value.dtype in HALF:
        raise NotApplicable("the head's product is in half precision itself, or was not seen")
    logits = subject.logits(short_ids(subject))
    logits = logits[logits.abs() > 1e-30]
    rounded = max(float((logits == logits.to(dtype).to(logits.dtype)).double().mean()) for dtype in HALF)
    saw = "all logits are numbers of half precision" if rounded > 0.5 else ""
    return Evidence(measured=rounded, bound=0.5, where="logits", saw=saw)


@law(
    "precision/bfloat16-agrees",
    statement="Bfloat16 gives the logits of float64 up to its rounding.",
    source="Kalamkar et al. 2019, arXiv:1905.12322",
    looks="Compares a copy in bfloat16 with float64 at the same, rounded weights, by the median token.",
    tolerance="0.2 of the spread of the logits: 2⁻⁸ a rounding, and some tens of them on the way, give 0.02.",
    symptoms="Half precision trains much worse than float32.",
    causes="Positions, sums over the text or the softmax in bfloat16; a constant that is too small for it.",
    needs=("logits",),
)
def bfloat16_agrees(subject: Subject) -> Evidence:
    """In bfloat16 257 is 256: positions, counts and running sums need float32, whatever the weights are in."""
    off, where = _disagreement(subject, torch.bfloat16)
    saw = "bfloat16 changes the logits by more than its rounding" if not off <= 0.2 else ""
    return Evidence(measured=off, bound=0.2, where=where, saw=saw)


def _disagreement(subject: Subject, dtype: torch.dtype) -> tuple[float, str]:
    """How far the median token's logits are from float64, as a share of the spread of logits; and of what dtype."""
    widest = dtype_of(subject.exact)
    if widest is dtype:
        raise NotApplicable("the model does not run in float64, so there is nothing to compare with")
    rounded = _in(subject, dtype)[0]
    exact = subject.logits(short_ids(subject), narrow_of(subject, dtype).to(widest))[0].double()
    off = (rounded.double() - exact).square().mean(-1).sqrt().median()
    spread = (exact - exact.mean(-1, keepdim=True)).square().mean().sqrt()
    return float(off / spread.clamp(min=1e-30)), str(dtype).removeprefix("torch.")


def narrow_of(subject: Subject, dtype: torch.dtype) -> nn.Module:
    """A copy in this dtype, in evaluation mode."""
    return copy.deepcopy(in_evaluation(subject)).to(dtype)


def _in(subject: Subject, dtype: torch.dtype) -> Tensor:
    """The logits of a copy in this dtype.

    Raises:
        NotApplicable: it does not run so.
    """
    try:
        return subject.logits(short_ids(subject), narrow_of(subject, dtype))
    except (RuntimeError, TypeError, ValueError) as error:
        name = str(dtype).removeprefix("torch.")
        raise NotApplicable(f"the model does not run in {name}: {str(error).splitlines()[0][:80]}") from error


@law(
    "precision/runs-in-bfloat16",
    statement="The model runs when it is converted to bfloat16.",
    source="torch.nn.Module.to",
    looks="Converts a copy with .to(bfloat16) and makes a pass.",
    tolerance="0 errors. Under autocast alone a model may do without.",
    symptoms="`expected mat1 and mat2 to have the same dtype`, once somebody tries half precision.",
    causes="A float32 table or mask that meets bfloat16 activations; a plain tensor that does not move.",
    needs=("logits",),
    advice=True,
)
def runs_in_bfloat16(subject: Subject) -> Evidence:
    """`q * self.cos` is float32 where the table is, and attention refuses q in float32 with v in bfloat16."""
    try:
        _in(subject, torch.bfloat16)
    except NotApplicable as reason:
        return Evidence(measured=1, bound=0, unit="errors", saw=str(reason))
    return Evidence(measured=0, bound=0, unit="errors")


@law(
    "precision/finite-in-half",
    statement="Logits are finite in half precision, also where rows are padded.",
    source="bfloat16 ends at 3.4e38, float16 at 65504",
    looks="Passes a padded text through a copy in bfloat16 and counts what is NaN or infinite at real tokens.",
    tolerance="0: nothing in a sound pass is near the ends of bfloat16.",
    symptoms="NaN in half precision, most of all for short texts in a batch.",
    causes="-1e38 added to a mask twice; a softmax over minus infinities only; a norm without epsilon.",
    needs=("logits",),
)
def finite_in_half(subject: Subject) -> Evidence:
    """`finfo.min + finfo.min` is minus infinity: a row in which every key is masked twice is NaN."""
    _in(subject, torch.bfloat16)
    ids = short_ids(subject, 2)
    real = torch.ones_like(ids)
    if subject.interface.mask is not None:
        real[0, : ids.shape[1] // 2] = 0
    masked = subject.interface.masked(real) if subject.interface.mask is not None else {}
    logits = subject.logits(ids, narrow_of(subject, torch.bfloat16), **masked)
    bad = int((~torch.isfinite(logits[real.bool()])).sum())
    saw = "logits are not finite in bfloat16" if bad else ""
    return Evidence(measured=bad, bound=0, unit="logits", where="bfloat16", saw=saw)


@law(
    "precision/mask-in-half",
    statement="The mask holds in half precision: no later token shows.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.2.3: masked by minus infinity",
    looks="Changes the last token in a copy in bfloat16 and compares the logits before it.",
    tolerance="1e-2 of the change at the last token: mixtures of experts round differently, elsewhere it is 0.",
    symptoms="The loss in half precision is too good.",
    causes="A mask of small numbers; one that is lost when it is converted.",
    needs=("logits",),
)
def mask_in_half(subject: Subject) -> Evidence:
    """A mask is added to scores: where it is -100 and a score reaches 100 the future shows through."""
    if not subject.claims.causal:
        raise NotApplicable("the model is declared to read in both directions (causal=False)")
    _in(subject, torch.bfloat16)
    model, ids = narrow_of(subject, torch.bfloat16), short_ids(subject)
    other = ids.clone()
    usual = subject.usual_ids[subject.usual_ids != ids[0, -1].cpu()]
    other[0, -1] = usual[0]
    moved = (subject.logits(ids, model) - subject.logits(other, model))[0].abs().amax(-1).double()
    share = float(moved[:-1].max() / moved[-1].clamp(min=1e-30)) if moved[:-1].any() else 0.0
    saw = "in bfloat16 the last token moves earlier logits" if share > 1e-2 else ""
    return Evidence(measured=share, bound=1e-2, where="bfloat16", saw=saw)


@law(
    "precision/stream-dtype",
    statement="In a half precision model what goes from block to block is in half precision.",
    source="torch type promotion: float32 and bfloat16 give float32",
    looks="Converts a copy to bfloat16 and looks at the dtype of what each block gives.",
    tolerance="0 blocks. Some keep the stream in float32 on purpose: it costs memory and is not wrong.",
    symptoms="Half precision is as slow and as large as float32.",
    causes="A float32 constant, table or norm weight that meets the stream.",
    needs=("logits",),
    advice=True,
)
def stream_dtype(subject: Subject) -> Evidence:
    """`x + float32_table` is float32 from there on: every later product is computed at twice the cost."""
    paths = blocks(subject)
    model = narrow_of(subject, torch.bfloat16)
    _in(subject, torch.bfloat16)
    with passages(model, paths) as seen:
        subject.logits(short_ids(subject), model)
    wide = [path for path in paths if path in seen and seen[path][0].gave.dtype != torch.bfloat16]
    saw = "a block of a bfloat16 model gives another dtype" if wide else ""
    return Evidence(measured=len(wide), bound=0, unit="blocks", where=wide[0] if wide else "", saw=saw)


@law(
    "precision/one-dtype",
    statement="All floating parameters have one dtype.",
    source="torch type promotion",
    looks="Counts the parameters whose dtype is not the most frequent one.",
    tolerance="0 parameters; keeping norms or routers in float32 on purpose is legal.",
    symptoms="Dtype errors in some layers; a model that is slower than it should be.",
    causes="A layer that was made or loaded in another dtype, or converted alone.",
    needs=("logits",),
    advice=True,
)
def one_dtype(subject: Subject) -> Evidence:
    """A head left in float32 under a bfloat16 model is either an error at the product or a silent conversion."""
    dtypes = {name: p.dtype for name, p in subject.model.named_parameters() if p.is_floating_point()}
    usual = max(set(dtypes.values()), key=lambda dtype: list(dtypes.values()).count(dtype))
    others = [name for name, dtype in dtypes.items() if dtype != usual]
    saw = f"parameters that are not {usual}" if others else ""
    where = others[0] if others else ""
    return Evidence(measured=len(others), bound=0, unit="parameters", where=where, saw=saw)
