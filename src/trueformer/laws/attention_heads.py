"""Heads: split from the projection, shared by groups, joined again and projected.

Shapes: T queries, S keys, H heads, D the width of a head.
"""

import torch
from torch import Tensor
from torch.nn import functional

from trueformer.laws.law import Evidence, law
from trueformer.subject.attentions import PRODUCTS, Attention, factors, projected_from, projection
from trueformer.subject.errors import NotApplicable
from trueformer.subject.subject import Subject, self_attentions
from trueformer.subject.trace import Event, Trace, storage_of

MOVES = {"clone", "copy", "contiguous", "cat", "stack", "_to_copy"}


@law(
    "attention/heads-split",
    statement="In the first layer, the values at a place come from that place's token alone.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.2.2",
    looks="Changes one token and compares the values of the first attention at all other places.",
    tolerance="1e-9 of the largest value: nothing should move at all.",
    symptoms="It trains, worse: heads mix neighbouring tokens, and the mask hides the wrong things.",
    causes="`view(B, H, T, D)` instead of `view(B, T, H, D).transpose(1, 2)`.",
    needs=("logits",),
)
def heads_split(subject: Subject) -> Evidence:
    """Both shapes are right, the numbers are not: `view` cuts the (T, H·D) matrix in its order in memory.

    v = v.view(B, T, H, D).transpose(1, 2)   # right
    v = v.view(B, H, T, D)                   # wrong: head 0 gets the first T/H tokens
    """
    place, ids = subject.length // 2, subject.ids()
    other = ids.clone()
    other[0, place] = next(i for i in subject.usual_ids.tolist() if i != int(ids[0, place]))
    one, changed = subject.attentions[0], subject.trace(other)
    two = self_attentions(changed, subject.length)[0]
    inputs = projected_from(subject.passed, one.value_HSD), projected_from(changed, two.value_HSD)
    if inputs[0] is None or inputs[1] is None or moved(inputs[0], inputs[1], place) > 0:
        raise NotApplicable("what the first layer projects already mixes tokens")
    moved_S = (one.value_HSD - two.value_HSD).abs().amax((0, 2)) / one.value_HSD.abs().max()
    moved_S[place] = 0
    off = float(moved_S.max())
    saw = f"changing token {place} moves the values at {int(moved_S.argmax())}" if off > 1e-9 else ""
    return Evidence(measured=off, bound=1e-9, where=one.path, saw=saw)


def moved(one_TC: Tensor, two_TC: Tensor, place: int) -> float:
    """The largest difference of two matrices in any row but one."""
    off_T = (one_TC - two_TC).abs().flatten(1).amax(-1)
    off_T[place] = 0
    return float(off_T.max())


@law(
    "attention/heads-joined",
    statement="What the heads found for a token is joined into that token's row.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.2.2",
    looks="Compares the numbers that each token's heads gave with the row that enters the output projection.",
    tolerance="1e-9 of the largest number: joining moves numbers and changes none.",
    symptoms="It trains, worse; a token gets what another one's heads found, later ones included.",
    causes="`reshape(B, T, H·D)` without the `transpose(1, 2)` before it.",
    needs=("logits",),
)
def heads_joined(subject: Subject) -> Evidence:
    """`y.reshape(B, T, C)` of y (B, H, T, D) has the right shape; `y.transpose(1, 2).reshape(B, T, C)` is right."""
    found = []
    for attention in subject.attentions:
        row = _joined(subject.passed, attention)
        if row is None:
            continue
        ours_TX = attention.mixed_HTD.transpose(0, 1).flatten(1).sort(-1).values
        theirs_TX = row.reshape(ours_TX.shape).sort(-1).values
        found.append((float((ours_TX - theirs_TX).abs().max() / ours_TX.abs().max()), attention.path))
    if not found:
        raise NotApplicable("what the heads found is changed (gated, normed) before it is projected")
    off, where = max(found)
    saw = "a token's row holds what other tokens' heads found" if off > 1e-9 else ""
    return Evidence(measured=off, bound=1e-9, where=where, saw=saw)


def _joined(trace: Trace, attention: Attention) -> Tensor | None:
    """The input of the first product after the heads, if only moves lie between."""
    size = attention.mixed_HTD.numel()
    for event in _after(trace, attention.mixing):
        if event.op in PRODUCTS and event is not attention.mixing:
            for factor in factors(event):
                if factor.numel() == size and _only_moved(trace, factor, attention.mixing):
                    return factor
            return None
    return None


def _after(trace: Trace, event: Event) -> list[Event]:
    """The events later than this one that it reaches directly or through others."""
    reached, later = {id(event)}, []
    for other in trace.events[trace.events.index(event) + 1 :]:
        if any(id(parent) in reached for parent in other.parents):
            reached.add(id(other))
            later.append(other)
    return later


def _only_moved(trace: Trace, tensor: Tensor, origin: Event) -> bool:
    waiting = trace.wrote(tensor)
    while waiting:
        tainted = [event for event in waiting if event.tainted]
        if origin in tainted:
            return True
        if not tainted or any(event.op not in MOVES for event in tainted):
            return False
        waiting = [parent for event in tainted for parent in event.parents]
    return False


@law(
    "attention/output-projection",
    statement="The heads' results go through a projection before they join the residual stream.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.2.2: W^O",
    looks="Follows the heads' results through the pass to the first product with a weight.",
    tolerance="There is one, or there is none.",
    symptoms="It trains, worse: heads cannot write where they like.",
    causes="The projection is defined and never called.",
    needs=("logits",),
)
def output_projection(subject: Subject) -> Evidence:
    """`return y` in place of `return self.c_proj(y)`: shapes agree, and the parameter gets no gradient."""
    missing = [a.path for a in subject.attentions if not _is_projected(subject.passed, a)]
    saw = "what the heads found is added to the stream without a projection" if missing else ""
    return Evidence(measured=len(missing), bound=0, unit="attentions", where=", ".join(missing[:3]), saw=saw)


def _is_projected(trace: Trace, attention: Attention) -> bool:
    """Whether a product comes before the first sum with something that the attention did not make."""
    for event in _after(trace, attention.mixing):
        if event.op in PRODUCTS:
            return True
        tensors = [tensor for tensor in event.tensors if trace.is_tainted(tensor)]
        if event.op == "add" and len(tensors) == 2 and tensors[0].shape == tensors[1].shape:
            return False
    return False


@law(
    "attention/groups",
    statement="With H query heads on K key heads, head h uses key and value head h // (H / K).",
    source="Ainslie et al. 2023, arXiv:2305.13245, §2.2; `repeat_interleave`, as `enable_gqa` does",
    looks="Watches a pass; finds which query heads share their keys, and which their values.",
    tolerance="Heads that share do so in every number.",
    symptoms="It trains, a little worse; weights of others, or exports to others, give nonsense.",
    causes="`repeat` where `repeat_interleave` was meant; keys and values expanded in different orders.",
    needs=("logits",),
)
def groups(subject: Subject) -> Evidence:
    """With 4 query heads on 2: `repeat_interleave` gives 0 0 1 1, `repeat` gives 0 1 0 1."""
    found = []
    for attention in subject.attentions:
        keys, values = _sharing(attention.key_HSD), _sharing(attention.value_HSD)
        n_heads, n_kv = len(keys), _projected_heads(subject.passed, attention) or len(set(values))
        if n_kv == n_heads or n_heads % n_kv:
            continue
        wanted = [head // (n_heads // n_kv) for head in range(n_heads)]
        wrong = sum(k != w or v != w for k, v, w in zip(keys, values, wanted, strict=True))
        found.append((wrong, f"{attention.path}: keys {keys}, values {values}, expected {wanted}"))
    if not found:
        raise NotApplicable("no heads share keys and values")
    wrong, where = max(found)
    saw = "query heads use the keys or values of another group" if wrong else ""
    return Evidence(measured=wrong, bound=0, unit="heads", where=where, saw=saw)


def _projected_heads(trace: Trace, attention: Attention) -> int | None:
    """How many heads the values' projection makes, where it makes nothing else."""
    event = projection(trace, attention.value_HSD)
    width = 0 if event is None else event.value.shape[-1]
    d_value, n_heads = attention.value_HSD.shape[-1], len(attention.value_HSD)
    return width // d_value if width % d_value == 0 and 0 < width <= n_heads * d_value else None


def _sharing(heads: Tensor) -> list[int]:
    """For each head the number of its like: heads that are equal in every number have the same."""
    numbers: list[int] = []
    distinct: list[Tensor] = []
    for head in heads:
        like = next((i for i, other in enumerate(distinct) if torch.equal(head, other)), None)
        if like is None:
            like = len(distinct)
            distinct.append(head)
        numbers.append(like)
    return numbers


@law(
    "attention/own-projections",
    statement="Queries, keys and values are three different projections.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.2.2: W^Q, W^K, W^V",
    looks="Watches a pass; compares the queries, keys and values of every two heads.",
    tolerance="Exactly equal numbers.",
    symptoms="It trains, worse: a third of the attention's weights never learn.",
    causes="One name for another: `att @ k`, `k = self.wq(x)`; a slice of the fused projection taken twice.",
    needs=("logits",),
)
def own_projections(subject: Subject) -> Evidence:
    """`q, k, v = qkv.split(C, dim=2)` is right; `att @ k` in the last line drops v, and every shape agrees."""
    found = []
    for attention in subject.attentions:
        parts = {"queries": attention.query_HTD, "keys": attention.key_HSD, "values": attention.value_HSD}
        made_by = {name: _weight(subject.passed, part) for name, part in parts.items()}
        for one, other in (("queries", "keys"), ("keys", "values"), ("queries", "values")):
            same = made_by[one] is not None and made_by[one] == made_by[other]
            n = len(parts[one]) if same else _common(parts[one], parts[other])
            found.append((n, f"{attention.path}: {one} and {other}"))
    same, where = max(found)
    saw = "two of queries, keys and values are the same" if same else ""
    return Evidence(measured=same, bound=0, unit="heads", where=where if same else "", saw=saw)


def _weight(trace: Trace, part: Tensor) -> tuple[int, ...] | None:
    """Where the weight lies that a part is projected with, if it makes this part alone."""
    event = projection(trace, part)
    if event is None or event.value.shape[-1] > len(part) * part.shape[-1]:
        return None
    weights = [factor for factor in factors(event) if not trace.is_tainted(factor)]
    return (storage_of(weights[0]), weights[0].storage_offset(), weights[0].numel()) if weights else None


def _common(one: Tensor, other: Tensor) -> int:
    """How many heads of one are proportional to one of the other: scores may be scaled on either side."""
    if one.shape[-1] != other.shape[-1]:
        return 0
    one_HX, other_HX = (functional.normalize(part.flatten(1).double(), dim=-1) for part in (one, other))
    return int(((one_HX @ other_HX.T).amax(-1) > 1 - 1e-12).sum())


@law(
    "attention/heads-differ",
    statement="No two heads of a layer compute the same scores.",
    source="Vaswani et al. 2017, arXiv:1706.03762, §3.2.2",
    looks="Watches a pass; compares the scores of every two heads.",
    tolerance="Exactly equal scores, before any mask or bias.",
    symptoms="Fewer heads than paid for; the loss is a little higher than it could be.",
    causes="Every head gets the same slice; weights copied to all heads and updated alike.",
    needs=("logits",),
)
def heads_differ(subject: Subject) -> Evidence:
    """A loop that slices `q[..., :d]` in place of `q[..., h * d : (h + 1) * d]` computes head 0 again and again."""
    found = []
    for attention in subject.attentions:
        likes = _sharing(attention.product_HTS)
        found.append((len(likes) - len(set(likes)), attention.path))
    same, where = max(found)
    return Evidence(
        measured=same,
        bound=0,
        unit="heads",
        where=where if same else "",
        saw="heads repeat one another" if same else "",
    )
